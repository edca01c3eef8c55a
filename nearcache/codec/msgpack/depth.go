package msgpack

import (
	"encoding/binary"
	"errors"
	"fmt"
)

// maxDepth bounds how deep values are nested. The decoder calls itself for each level, and a program whose stack
// overflows cannot recover.
const maxDepth = 1000

var errCut = errors.New("msgpack: the value is cut short")

// shallow walks over the first value of b with a stack of its own, and says what is wrong with its outline: it is cut
// short, or nested too deep.
func shallow(b []byte) error {
	var open []uint64 // of each array or map that is not at its end, how many values are still to come
	for {
		head, inner, err := outline(b)
		if err != nil {
			return err
		}
		if uint64(len(b)) < head {
			return errCut
		}
		b = b[head:]
		if inner > 0 {
			if len(open) == maxDepth {
				return fmt.Errorf("msgpack: nested more than %d deep", maxDepth)
			}
			open = append(open, inner)
		}
		for len(open) > 0 && open[len(open)-1] == 0 {
			open = open[:len(open)-1]
		}
		if len(open) == 0 {
			return nil
		}
		open[len(open)-1]--
	}
}

// outline is how many bytes the next value has up to its inner values, and how many of those there are.
func outline(b []byte) (head, inner uint64, err error) {
	if len(b) == 0 {
		return 0, 0, errCut
	}
	sized := func(width int) uint64 {
		if len(b) <= width {
			err = errCut
			return 0
		}
		var n [8]byte
		copy(n[8-width:], b[1:1+width])
		return binary.BigEndian.Uint64(n[:])
	}
	switch c := b[0]; {
	case c <= 0x7f || c >= 0xe0 || c == 0xc0 || c == 0xc2 || c == 0xc3: // small integers, nil, false, true
		return 1, 0, nil
	case c <= 0x8f: // small map
		return 1, 2 * uint64(c&0x0f), nil
	case c <= 0x9f: // small array
		return 1, uint64(c & 0x0f), nil
	case c <= 0xbf: // small string
		return 1 + uint64(c&0x1f), 0, nil
	case c >= 0xc4 && c <= 0xc6: // bytes
		w := 1 << (c - 0xc4)
		return 1 + uint64(w) + sized(w), 0, err
	case c >= 0xc7 && c <= 0xc9: // extension
		w := 1 << (c - 0xc7)
		return 2 + uint64(w) + sized(w), 0, err
	case c == 0xca: // float 32
		return 5, 0, nil
	case c == 0xcb: // float 64
		return 9, 0, nil
	case c >= 0xcc && c <= 0xcf: // unsigned
		return 1 + 1<<(c-0xcc), 0, nil
	case c >= 0xd0 && c <= 0xd3: // signed
		return 1 + 1<<(c-0xd0), 0, nil
	case c >= 0xd4 && c <= 0xd8: // fixed extension
		return 2 + 1<<(c-0xd4), 0, nil
	case c >= 0xd9 && c <= 0xdb: // string
		w := 1 << (c - 0xd9)
		return 1 + uint64(w) + sized(w), 0, err
	case c == 0xdc || c == 0xdd: // array
		w := 2 << (c - 0xdc)
		return 1 + uint64(w), sized(w), err
	case c == 0xde || c == 0xdf: // map
		w := 2 << (c - 0xde)
		return 1 + uint64(w), 2 * sized(w), err
	}
	return 0, 0, fmt.Errorf("msgpack: %#x begins no value", b[0])
}
