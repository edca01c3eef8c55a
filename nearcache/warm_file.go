package nearcache

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/cespare/xxhash/v2"
)

// The layout of a file of Warm. Strings are a length as uvarint, and bytes.
//
//	"NCWARM", format 1
//	the prefix of the Redis keys, the namespace
//	number of keys, as uvarint; their names, the hottest first
//	xxHash64 of all of it, big endian
const warmMagic = "NCWARM\x01"

// maxWarmFile bounds a file that is read.
const maxWarmFile = 256 << 20

var (
	errWarmDamaged = errors.New("it is damaged, or not a file of Options.Warm")
	errWarmForeign = errors.New("it is another cache's")
)

func encodeWarm(prefix, namespace string, names []string) []byte {
	b := []byte(warmMagic)
	str := func(s string) {
		b = binary.AppendUvarint(b, uint64(len(s)))
		b = append(b, s...)
	}
	str(prefix)
	str(namespace)
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, name := range names {
		str(name)
	}
	return binary.BigEndian.AppendUint64(b, xxhash.Sum64(b))
}

// decodeWarm takes nothing on trust: the checksum does not tell who has written it.
func decodeWarm(b []byte, prefix, namespace string) (names []string, err error) {
	end := len(b) - 8
	if end < len(warmMagic) || !bytes.HasPrefix(b, []byte(warmMagic)) ||
		binary.BigEndian.Uint64(b[end:]) != xxhash.Sum64(b[:end]) {
		return nil, errWarmDamaged
	}
	b = b[len(warmMagic):end]
	number := func() (n uint64) {
		n, size := binary.Uvarint(b)
		if size <= 0 {
			err = errWarmDamaged
			return 0
		}
		b = b[size:]
		return n
	}
	str := func() string {
		n := number()
		if n > uint64(len(b)) {
			err, n = errWarmDamaged, 0
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	if p, ns := str(), str(); err == nil && (p != prefix || ns != namespace) {
		return nil, errWarmForeign
	}
	for n := number(); n > 0 && err == nil; n-- {
		names = append(names, str())
	}
	if err == nil && len(b) > 0 {
		err = errWarmDamaged
	}
	if err != nil {
		return nil, err
	}
	return names, nil
}

func readWarm(file, prefix, namespace string) ([]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxWarmFile+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxWarmFile {
		return nil, errWarmDamaged
	}
	return decodeWarm(b, prefix, namespace)
}

// writeWarm replaces a file whole: who reads it meanwhile, or after a crash, has the old one or the new one.
func writeWarm(file string, b []byte) (err error) {
	f, err := os.CreateTemp(filepath.Dir(file), filepath.Base(file)+".*.tmp")
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), file)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("writing %s: %w", file, err), os.Remove(f.Name()))
	}
	return nil
}
