package operator

import (
	"bytes"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"google.golang.org/protobuf/proto"

	"github.com/nearcache/nearcache-go/nearcache"
	"github.com/nearcache/nearcache-go/nearcache/codec/compress"
	"github.com/nearcache/nearcache-go/nearcache/codec/msgpack"
)

type item struct {
	Name string `json:"name" msgpack:"name"`
	N    int    `json:"n" msgpack:"n"`
}

// encoded is an item as a Codec encodes it.
func encoded(t *testing.T, codec nearcache.Codec[item], n int) []byte {
	t.Helper()
	b, err := codec.Append(nil, item{Name: strings.Repeat("lamp", n), N: 7})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func compressed(t *testing.T, inner nearcache.Codec[item], a compress.Algorithm) nearcache.Codec[item] {
	t.Helper()
	c, err := compress.New(inner, compress.Options{Algorithm: a})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestDecodePayload_RecognisesTheCodecs(t *testing.T) {
	message, err := proto.Marshal(wrapperspb.String("espresso"))
	if err != nil {
		t.Fatal(err)
	}
	nested := protowire.AppendTag(nil, 2, protowire.BytesType)
	nested = protowire.AppendBytes(nested, protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 7))
	pack := msgpack.Codec[item]{}
	for name, c := range map[string]struct {
		payload []byte
		as      string
		codec   string
		want    string
	}{
		"JSON":             {encoded(t, nearcache.JSON[item]{}, 1), "auto", "json", `{"name":"lamp","n":7}`},
		"MessagePack":      {encoded(t, pack, 1), "auto", "msgpack", `"name":"lamp"`},
		"small compressed": {encoded(t, compressed(t, nil, compress.Zstd), 1), "auto", "compress+json", `"name":"lamp"`},
		"zstd":             {encoded(t, compressed(t, nil, compress.Zstd), 1000), "auto", "zstd+json", "lamplamp"},
		"s2":               {encoded(t, compressed(t, nil, compress.S2), 1000), "auto", "s2+json", "lamplamp"},
		"zstd of MessagePack": {encoded(t, compressed(t, pack, compress.Zstd), 1000), "auto", "zstd+msgpack",
			"lamplamp"},
		"Protocol Buffers": {message, "auto", "protobuf", `{"1":["espresso"]}`},
		"nested":           {nested, "auto", "protobuf", `{"2":[{"1":[7]}]}`},
		"text":             {[]byte("plain text"), "auto", "text", `"plain text"`},
		"as text":          {[]byte(`{"a":1}`), "text", "text", `"{\"a\":1}"`},
		"as raw":           {[]byte(`{"a":1}`), "raw", "raw", ""},
		"nothing":          {nil, "auto", "raw", ""},
		"noise":            {bytes.Repeat([]byte{0xff}, 5000), "auto", "raw", ""},
		"a bomb's header":  {append([]byte{2}, 0xff, 0xff, 0xff, 0x7f, 0), "auto", "raw", ""},
	} {
		got := decodePayload(c.payload, c.as)
		if got.Codec != c.codec || !strings.Contains(string(got.JSON), c.want) || got.Bytes != len(c.payload) ||
			c.want == "" && got.JSON != nil || len(got.Raw) > mostRaw {
			t.Errorf("%s: got %s, %s; want %s, %s", name, got.Codec, got.JSON, c.codec, c.want)
		}
	}
}

func FuzzDecodePayload(f *testing.F) {
	f.Add([]byte(`{"a":1}`))
	f.Add([]byte{1, 0x28, 0xb5, 0x2f, 0xfd, 4, 0})
	f.Add([]byte{0x82, 0xa1, 'a', 1, 0xa1, 'b', 2})
	f.Fuzz(func(t *testing.T, b []byte) {
		if p := decodePayload(b, "auto"); p.Codec == "" || p.JSON == nil && len(b) > 0 && len(p.Raw) == 0 {
			t.Errorf("%q is %+v", b, p)
		}
	})
}
