//! What a verb works with besides the cluster: where it prints, whom it may ask, and what lies on this machine.

use std::{
    ffi::OsString,
    io::{self, BufRead as _, IsTerminal as _, Read as _, Write},
    path::Path,
    process::Command,
};

use coffer_keys::SecretBytes;

use crate::{Failure, command::Options, home::Home, output};

/// The place at which one command is done.
pub(crate) struct Desk<'a> {
    pub(crate) options: Options,
    pub(crate) home: Home,
    /// Whoever typed the command.
    pub(crate) person: &'a mut dyn Person,
    /// What was asked for.
    pub(crate) answer: &'a mut dyn Write,
    /// Remarks and progress.
    pub(crate) notes: &'a mut dyn Write,
}

/// Whoever can be asked.
pub(crate) trait Person {
    /// Whether somebody is there to answer.
    fn is_there(&self) -> bool;
    /// Asks for something that is not shown while it is typed.
    fn hidden(&mut self, prompt: &str) -> io::Result<SecretBytes>;
    /// Asks for a line.
    fn line(&mut self, prompt: &str) -> io::Result<String>;
    /// Whether what is answered is shown on a screen.
    fn sees_the_answer(&self) -> bool;
    /// Whether remarks are shown on a screen, where one may take the place of another.
    fn sees_the_notes(&self) -> bool;
    /// All of standard input.
    fn standard_input(&mut self) -> io::Result<SecretBytes>;
    /// Lets them edit a file.
    fn edit(&mut self, file: &Path) -> io::Result<()>;
}

impl Desk<'_> {
    /// Prints a line of the answer.
    pub(crate) fn say(&mut self, line: &str) -> Result<(), Failure> {
        output::write(self.answer, &format!("{line}\n"))
    }

    /// A remark or a step of progress; not with `--quiet`.
    pub(crate) fn note(&mut self, line: &str) {
        if !self.options.quiet {
            // Who closed the other end of stderr does not want to know.
            let _ = writeln!(self.notes, "{}", output::harmless(line.as_bytes()));
        }
    }

    /// How far something is: in the place of what was said before on a terminal, as a remark elsewhere. An empty line takes
    /// it away.
    pub(crate) fn progress(&mut self, line: &str) {
        const AT_THE_START: &str = "\r\x1b[K";
        if !self.person.sees_the_notes() {
            if !line.is_empty() {
                self.note(line);
            }
            return;
        }
        if !self.options.quiet {
            let _ = write!(self.notes, "{AT_THE_START}{}", output::harmless(line.as_bytes()));
            let _ = self.notes.flush();
        }
    }

    /// Goes on only with a person's yes, or with `--yes`.
    pub(crate) fn confirm(&mut self, question: &str, yes: bool) -> Result<(), Failure> {
        if yes || self.options.dry_run {
            return Ok(());
        }
        if !self.person.is_there() {
            return Err(Failure::Usage(format!(
                "{question} Nobody is there to answer: say --yes if you mean it"
            )));
        }
        let said = self.person.line(&format!("{question} [y/N] ")).map_err(unanswered)?;
        if ["y", "yes"].contains(&said.trim().to_lowercase().as_str()) {
            Ok(())
        } else {
            Err(Failure::Usage(String::from("nothing was changed")))
        }
    }

    /// Something typed and not shown.
    pub(crate) fn ask_hidden(&mut self, what: &str, instead: &str) -> Result<SecretBytes, Failure> {
        if !self.person.is_there() {
            return Err(Failure::Usage(format!("nobody is there to type {what}: {instead}")));
        }
        self.person.hidden(&format!("{what}: ")).map_err(unanswered)
    }

    /// What a dry run adds to a sentence about what was done.
    pub(crate) fn mark(&self) -> &'static str {
        if self.options.dry_run { " (dry run)" } else { "" }
    }
}

fn unanswered(error: io::Error) -> Failure {
    Failure::Usage(format!("no answer from the terminal: {error}"))
}

/// A person at a terminal.
#[derive(Debug)]
pub(crate) struct Terminal;

impl Person for Terminal {
    fn is_there(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    fn hidden(&mut self, prompt: &str) -> io::Result<SecretBytes> {
        rpassword::prompt_password(prompt).map(|typed| SecretBytes::new(typed.into_bytes()))
    }

    fn line(&mut self, prompt: &str) -> io::Result<String> {
        write!(io::stderr(), "{prompt}")?;
        io::stderr().flush()?;
        let mut line = String::new();
        io::stdin().lock().read_line(&mut line)?;
        Ok(line)
    }

    fn sees_the_answer(&self) -> bool {
        io::stdout().is_terminal()
    }

    fn sees_the_notes(&self) -> bool {
        io::stderr().is_terminal()
    }

    fn standard_input(&mut self) -> io::Result<SecretBytes> {
        let mut bytes = Vec::new();
        io::stdin().lock().read_to_end(&mut bytes)?;
        Ok(SecretBytes::new(bytes))
    }

    fn edit(&mut self, file: &Path) -> io::Result<()> {
        let named =
            ["KUBE_EDITOR", "EDITOR"].iter().filter_map(std::env::var_os).find(|name| !name.is_empty());
        let mut words = named.unwrap_or_else(|| OsString::from("vi"));
        words.push(" \"$1\"");
        // An editor may be named with flags, and so is for a shell to read.
        let status = Command::new("sh").arg("-c").arg(words).arg("sh").arg(file).status()?;
        if status.success() { Ok(()) } else { Err(io::Error::other(format!("it ended with {status}"))) }
    }
}
