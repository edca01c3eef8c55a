package operator

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"
	"github.com/vmihailenco/msgpack/v5"
	"google.golang.org/protobuf/encoding/protowire"
)

// payload is a value as its Codec encoded it, made readable.
type payload struct {
	Codec string          `json:"codec"`
	Bytes int             `json:"bytes"`
	JSON  json.RawMessage `json:"value,omitempty"`
	Raw   []byte          `json:"raw,omitempty"` // of what could not be decoded, its beginning
}

var codecNames = []string{"auto", "json", "msgpack", "protobuf", "text", "raw"}

func checkCodec(name string) error {
	if !slices.Contains(codecNames, name) {
		return usage("--codec is %.20q: %s", name, strings.Join(codecNames, ", "))
	}
	return nil
}

const (
	mostInflated = 16 << 20 // of a compressed payload
	mostRaw      = 4 << 10  // of what could not be decoded
)

// decodePayload recognises a payload, or takes it for what it is said to be. What does not decode is shown raw.
func decodePayload(b []byte, codec string) payload {
	p := payload{Codec: "raw", Bytes: len(b), Raw: b[:min(len(b), mostRaw)]}
	if codec == "raw" {
		return p
	}
	inner, how := b, ""
	if plain, name, ok := inflate(b); ok {
		inner, how = plain, name+"+"
	}
	for _, c := range []struct {
		name   string
		decode func([]byte) (json.RawMessage, bool)
	}{{"json", asJSON}, {"text", asText}, {"msgpack", asMsgpack}, {"protobuf", asProtobuf}} {
		if codec != "auto" && codec != c.name {
			continue
		}
		if v, ok := c.decode(inner); ok {
			return payload{Codec: how + c.name, Bytes: len(b), JSON: v}
		}
	}
	return p
}

// inflate takes off what codec/compress has put around a payload.
func inflate(b []byte) (plain []byte, name string, ok bool) {
	if len(b) < 2 {
		return nil, "", false
	}
	switch b[0] {
	case 0:
		return b[1:], "compress", true
	case 1:
		d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(mostInflated))
		if err != nil {
			return nil, "", false
		}
		defer d.Close()
		plain, err = d.DecodeAll(b[1:], nil)
		return plain, "zstd", err == nil
	case 2:
		n, err := s2.DecodedLen(b[1:])
		if err != nil || n > mostInflated {
			return nil, "", false
		}
		plain, err = s2.Decode(nil, b[1:])
		return plain, "s2", err == nil
	}
	return nil, "", false
}

func asJSON(b []byte) (json.RawMessage, bool) {
	var compact bytes.Buffer
	if json.Compact(&compact, b) != nil {
		return nil, false
	}
	return compact.Bytes(), true
}

func asText(b []byte) (json.RawMessage, bool) {
	odd := func(r rune) bool { return !unicode.IsPrint(r) && !unicode.IsSpace(r) }
	if len(b) == 0 || !utf8.Valid(b) || bytes.ContainsFunc(b, odd) {
		return nil, false
	}
	v, err := json.Marshal(string(b))
	return v, err == nil
}

// asMsgpack takes what is a map or an array: a single byte of a number is MessagePack, too, and says nothing.
func asMsgpack(b []byte) (json.RawMessage, bool) {
	if len(b) == 0 || !(b[0]&0xe0 == 0x80 || b[0] >= 0xdc && b[0] <= 0xdf) { // fixmap, fixarray, array and map
		return nil, false
	}
	r := bytes.NewReader(b)
	d := msgpack.NewDecoder(r)
	d.SetMapDecoder(func(d *msgpack.Decoder) (any, error) { return d.DecodeUntypedMap() })
	v, err := d.DecodeInterface()
	if err != nil || r.Len() > 0 {
		return nil, false
	}
	out, err := json.Marshal(withTextKeys(v))
	return out, err == nil
}

// withTextKeys makes maps of any keys into what JSON has.
func withTextKeys(v any) any {
	switch v := v.(type) {
	case map[any]any:
		m := make(map[string]any, len(v))
		for k, e := range v {
			m[fmt.Sprint(k)] = withTextKeys(e)
		}
		return m
	case []any:
		for i := range v {
			v[i] = withTextKeys(v[i])
		}
	}
	return v
}

// asProtobuf shows the fields of a message by their numbers: the record does not say which message it is.
func asProtobuf(b []byte) (json.RawMessage, bool) {
	fields, ok := protoFields(b, 0)
	if !ok || len(fields) == 0 {
		return nil, false
	}
	v, err := json.Marshal(fields)
	return v, err == nil
}

func protoFields(b []byte, depth int) (map[string][]any, bool) {
	const deepest = 16
	if depth > deepest {
		return nil, false
	}
	fields := map[string][]any{}
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return nil, false
		}
		b = b[n:]
		v, n := protoValue(b, num, kind, depth)
		if n < 0 {
			return nil, false
		}
		b = b[n:]
		name := fmt.Sprint(num)
		fields[name] = append(fields[name], v)
	}
	return fields, true
}

func protoValue(b []byte, num protowire.Number, kind protowire.Type, depth int) (any, int) {
	switch kind {
	case protowire.VarintType:
		return protowire.ConsumeVarint(b)
	case protowire.Fixed32Type:
		return protowire.ConsumeFixed32(b)
	case protowire.Fixed64Type:
		return protowire.ConsumeFixed64(b)
	case protowire.BytesType:
		in, n := protowire.ConsumeBytes(b)
		if n < 0 {
			return nil, n
		}
		if s, ok := asText(in); ok {
			return s, n
		}
		if m, ok := protoFields(in, depth+1); ok && len(m) > 0 {
			return m, n
		}
		return in, n
	case protowire.StartGroupType:
		in, n := protowire.ConsumeGroup(num, b)
		if n < 0 {
			return nil, n
		}
		m, ok := protoFields(in, depth+1)
		if !ok {
			return nil, -1
		}
		return m, n
	}
	return nil, -1
}

func (p *payload) print(w io.Writer) {
	fmt.Fprintf(w, "payload\t%d bytes, %s\n", p.Bytes, p.Codec)
	if p.JSON == nil {
		fmt.Fprintf(w, "\t%.400q\n", p.Raw)
		return
	}
	fmt.Fprintf(w, "\t%s\n", cut(string(p.JSON), 2000))
}

// plain is a text without what would move the cursor of a terminal or begin a line: keys and messages are anybody's.
func plain(s string) string {
	return strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return unicode.ReplacementChar
		}
		return r
	}, s)
}

// cut shortens a text for people, and makes it plain.
func cut(s string, most int) string {
	s = plain(s)
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "..."
}
