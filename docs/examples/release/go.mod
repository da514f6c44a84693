module coffer.dev/example/release

go 1.26
