package l2_test

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/nearcache/nearcache-go/internal/l2"
)

// records are the golden ones: what any release has written must stay readable, and no build may write it differently.
var records = map[string]l2.Record{
	"value": {Schema: 7, Incarnation: l2.Incarnation{1, 2, 3, 4, 5, 6, 7, 8}, Version: 1<<63 + 5,
		WrittenAt: time.UnixMilli(1764000000123),
		ExpiresAt: time.UnixMilli(1764000300123), Payload: []byte(`{"id":"42"}`)},
	"absence": {Absent: true, Version: 3, WrittenAt: time.UnixMilli(1764000000123),
		ExpiresAt: time.UnixMilli(1764000030123), Payload: []byte{}},
	"tagged": {Version: 1, SoftExpiry: time.UnixMilli(1764000100000),
		Tags:    []l2.Tag{{Name: "brand:x", Version: 9}, {Name: "", Version: 1 << 60}},
		Payload: []byte("payload")},
}

func TestRecord_Golden(t *testing.T) {
	for name, want := range records {
		path := filepath.Join("testdata", name+".record")
		b, err := l2.AppendRecord([]byte("before"), want)
		if err != nil {
			t.Fatal(err)
		}
		b = b[len("before"):]
		if os.Getenv("UPDATE_GOLDEN") != "" {
			if err := os.WriteFile(path, b, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		golden, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(golden, b) {
			t.Errorf("%s is written as\n%x, not as\n%x", name, b, golden)
		}
		got, err := l2.DecodeRecord(golden)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: (-want +got) %s", name, diff)
		}
	}
}

func TestRecord_DamageIsNoticed(t *testing.T) {
	good, err := l2.AppendRecord(nil, records["tagged"])
	if err != nil {
		t.Fatal(err)
	}
	for n := range good {
		if _, err := l2.DecodeRecord(good[:n]); !errors.Is(err, l2.ErrCorrupt) {
			t.Errorf("cut to %d bytes: %v", n, err)
		}
	}
	if _, err := l2.DecodeRecord(append(bytes.Clone(good), 0)); !errors.Is(err, l2.ErrCorrupt) {
		t.Errorf("with a byte more: %v", err)
	}
	for i := range good {
		if i >= 8 && i < 16 {
			continue // the incarnation is the scripts' to write
		}
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		if _, err := l2.DecodeRecord(bad); err == nil {
			t.Errorf("byte %d changed, and nobody notices", i)
		}
	}
	newer := bytes.Clone(good)
	newer[2] = 2
	if _, err := l2.DecodeRecord(newer); !errors.Is(err, l2.ErrNewerFormat) {
		t.Errorf("a newer format: %v", err)
	}
	if _, err := l2.AppendRecord(nil,
		l2.Record{Payload: make([]byte, l2.MaxRecordBytes)}); !errors.Is(err, l2.ErrTooLarge) {
		t.Errorf("64 MiB and a header: %v", err)
	}
}

func FuzzDecodeRecord(f *testing.F) {
	for _, r := range records {
		b, err := l2.AppendRecord(nil, r)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte("NC\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := l2.DecodeRecord(b)
		if err != nil {
			return
		}
		again, err := l2.AppendRecord(nil, r)
		if err != nil {
			t.Fatal(err)
		}
		got, err := l2.DecodeRecord(again)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(r, got); diff != "" {
			t.Error(diff)
		}
	})
}

func TestKeyspace_IsFixed(t *testing.T) { // operators and other programs rely on it
	s := l2.NewKeyspace("shop")
	k := s.Key("product", "42")
	want := l2.Key{Namespace: "product", Name: "42", Bucket: 61, Record: "shop:{147}:v:product:42",
		Lease: "shop:{147}:l:product:42", Hash: k.Hash}
	if diff := cmp.Diff(want, k); diff != "" {
		t.Error(diff)
	}
	for _, name := range []string{"", "a:b", "{x}", "nul\x00", "\xff"} {
		k := s.Key("n", name)
		tag := strings.TrimSuffix(s.Watermark(k.Bucket), "w")
		if k.Record != tag+"v:n:"+name || k.Lease != tag+"l:n:"+name || k.Hash != l2.HashRecord(k.Record) {
			t.Errorf("the key of %q is %+v", name, k)
		}
	}
}
