package main

import (
	"encoding/binary"
	"fmt"
)

// lp writes length-prefixed values (docs/format.md, "Encoding").
type lp struct{ b []byte }

func (l *lp) bytes(v []byte) *lp {
	l.b = binary.BigEndian.AppendUint32(l.b, uint32(len(v)))
	l.b = append(l.b, v...)
	return l
}

func (l *lp) text(v string) *lp { return l.bytes([]byte(v)) }

func (l *lp) number(v uint64) *lp { return l.bytes(binary.BigEndian.AppendUint64(nil, v)) }

func (l *lp) time(v int64) *lp { return l.number(uint64(v)) }

// optional writes 0, or 1 and the value. nil means absent.
func (l *lp) optional(v []byte) *lp {
	if v == nil {
		return l.number(0)
	}
	return l.number(1).bytes(v)
}

// readLP splits bytes into exactly n length-prefixed values.
func readLP(b []byte, n int) ([][]byte, error) {
	values := make([][]byte, 0, n)
	for range n {
		if len(b) < 4 {
			return nil, fmt.Errorf("ends before its last value")
		}
		length := binary.BigEndian.Uint32(b)
		b = b[4:]
		if uint64(length) > uint64(len(b)) {
			return nil, fmt.Errorf("ends inside a value")
		}
		values = append(values, b[:length])
		b = b[length:]
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("goes on after its last value")
	}
	return values, nil
}
