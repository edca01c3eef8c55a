package operator

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcache/nearcache-go/coherence"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// inspection is what inspect prints.
type inspection struct {
	cacheKey
	RedisKey string            `json:"redis_key"`
	Bucket   int               `json:"bucket"`
	State    string            `json:"state"` // none, value, absence, corrupt, newer_format or wrong_type
	Problem  string            `json:"problem,omitempty"`
	Record   *inspectedRecord  `json:"record,omitempty"`
	Lease    inspectedLease    `json:"lease"`
	Bucketed inspectedBucket   `json:"watermark"`
	Source   *inspectedVersion `json:"source,omitempty"` // with a database
}

type inspectedRecord struct {
	// Readable says whether a cache may read it: it is of the bucket's incarnation, and of this very key.
	Readable    bool              `json:"readable"`
	Version     coherence.Version `json:"version"`
	Schema      uint32            `json:"schema"`
	Shape       string            `json:"shape"` // fingerprint of the value's type; empty: not known
	Incarnation string            `json:"incarnation"`
	WrittenAt   time.Time         `json:"written_at"`
	RefreshAt   *time.Time        `json:"refresh_at,omitempty"`
	ExpiresAt   *time.Time        `json:"expires_at,omitempty"`
	Bytes       int               `json:"bytes"`
	Tags        []inspectedTag    `json:"tags,omitempty"`
	Payload     *payload          `json:"payload,omitempty"`
}

type inspectedTag struct {
	Name    string            `json:"name"`
	Version coherence.Version `json:"version"`
}

type inspectedLease struct {
	Holder  string            `json:"holder"` // none, reader, writers or foreign
	Known   coherence.Version `json:"known_version,omitempty"`
	Writers int               `json:"writers,omitempty"`
	Doubted bool              `json:"write_of_unknown_outcome,omitempty"`
	Left    float64           `json:"left_seconds,omitempty"`
}

type inspectedBucket struct {
	Incarnation string `json:"incarnation"`
	Position    string `json:"position"` // empty: no relay has applied anything
}

type inspectedVersion struct {
	Version coherence.Version `json:"version"`
	// Verdict compares the source with the record: current, behind, or ahead.
	Verdict string `json:"verdict,omitempty"`
}

func (t *tool) inspectCommand() *cobra.Command {
	var codec string
	cmd := &cobra.Command{Use: "inspect KEY", Short: "Show what Redis holds of a key: the record, its lease, its bucket",
		Long: `Inspect reads a key's record and lease, and changes nothing. With a database it also compares the record
with the source's version: a record that is behind is dropped by the relay within its interval.

A record does not name the Codec of its payload, so the payload is recognised: what codec/compress writes, JSON,
MessagePack, Protocol Buffers (by field numbers), or text. --codec says which it is where that is wrong.`,
		Args: exactly(1)}
	cmd.Flags().StringVar(&codec, "codec", "auto", "what the payload is: "+strings.Join(codecNames, ", "))
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := checkCodec(codec); err != nil {
			return err
		}
		ctx, cancel := t.limit(cmd)
		defer cancel()
		k, err := t.parseKey(args[0])
		if err != nil {
			return err
		}
		in, err := t.inspect(ctx, k, codec)
		if err != nil {
			return err
		}
		return t.show(cmd, in, in.print)
	}
	return cmd
}

func (t *tool) inspect(ctx context.Context, k cacheKey, codec string) (*inspection, error) {
	engine, closeIt, err := t.openEngine(ctx)
	if err != nil {
		return nil, err
	}
	defer closeIt()
	key := engine.Keyspace().Key(k.Namespace, k.Name)
	in := &inspection{cacheKey: k, RedisKey: key.Record, Bucket: key.Bucket, State: "none"}
	raw, w, err := engine.Get(ctx, key, l2.ReadOptions{Watermark: true})
	switch applied, applyErr := engine.Reached(ctx); {
	case applyErr != nil:
		return nil, applyErr
	case applied[key.Bucket].Incarnation == w.Incarnation:
		w = applied[key.Bucket]
	}
	switch {
	case errors.Is(err, l2.ErrWrongType):
		in.State, in.Problem = "wrong_type", err.Error()
	case err != nil:
		return nil, err
	case raw != nil:
		in.record(key, raw, w.Incarnation, codec)
	}
	if in.Bucketed.Incarnation = w.Incarnation.String(); !w.Position.IsZero() {
		in.Bucketed.Position = w.Position.String()
	}
	lease, err := engine.Lease(ctx, key)
	if err != nil {
		return nil, err
	}
	in.Lease = inspectedLease{Holder: lease.Holder.String(), Known: lease.Known, Writers: lease.Writers,
		Doubted: lease.Doubted,
		Left:    lease.Left.Seconds()}
	if t.hasDatabase() {
		if in.Source, err = t.sourceVersion(ctx, in); err != nil {
			return nil, err
		}
	}
	return in, nil
}

func (in *inspection) record(key l2.Key, raw []byte, bucket l2.Incarnation, codec string) {
	rec, err := l2.DecodeRecord(raw)
	switch {
	case errors.Is(err, l2.ErrNewerFormat):
		in.State, in.Problem = "newer_format", err.Error()
		return
	case err != nil:
		in.State, in.Problem = "corrupt", err.Error()
		return
	}
	in.State = "value"
	r := &inspectedRecord{Readable: rec.Incarnation == bucket && rec.KeyHash == key.Hash, Version: rec.Version,
		Schema: rec.Schema, Incarnation: rec.Incarnation.String(), WrittenAt: rec.WrittenAt.UTC(), Bytes: len(raw)}
	if rec.Shape != 0 {
		r.Shape = fmt.Sprintf("%08x", rec.Shape)
	}
	for at, into := range map[*time.Time]**time.Time{&rec.SoftExpiry: &r.RefreshAt, &rec.ExpiresAt: &r.ExpiresAt} {
		if !at.IsZero() {
			moment := at.UTC()
			*into = &moment
		}
	}
	for _, tag := range rec.Tags {
		r.Tags = append(r.Tags, inspectedTag{tag.Name, tag.Version})
	}
	switch {
	case rec.Incarnation == bucket.Unconfirmed():
		in.Problem = "it is unconfirmed: a write of unknown outcome may have replaced it; no cache reads it, except by " +
			"fail-safe, and the next load replaces it"
	case rec.Incarnation != bucket:
		in.Problem = "it is of another incarnation than its bucket: no cache reads it, and the next load replaces it"
	case rec.KeyHash != key.Hash:
		in.Problem = "it is another key's record, renamed or copied: no cache reads it, and the next load replaces it"
	}
	if rec.Absent {
		in.State = "absence"
	} else {
		p := decodePayload(rec.Payload, codec)
		r.Payload = &p
	}
	in.Record = r
}

// sourceVersion is the key's version in the database.
func (t *tool) sourceVersion(ctx context.Context, in *inspection) (*inspectedVersion, error) {
	src, _, closeIt, err := t.openSource(ctx)
	if err != nil {
		return nil, err
	}
	defer closeIt()
	v, err := src.Version(ctx, in.Namespace, in.Name)
	if err != nil {
		return nil, err
	}
	s := &inspectedVersion{Version: v}
	switch {
	case in.Record == nil:
	case in.Record.Version < v:
		s.Verdict = "behind"
	case in.Record.Version > v:
		s.Verdict = "ahead"
	default:
		s.Verdict = "current"
	}
	return s, nil
}

// verdicts say what a verdict means.
var verdicts = map[string]string{
	"behind": "the record is older: the relay has not applied the change, or is not running (nearcache relay status)",
	"ahead": "the record is newer than the database knows: it was restored or failed over, or the record is of another" +
		" system (nearcache doctor)",
	"current": "the record is current",
}

func (in *inspection) print(w io.Writer) {
	fmt.Fprintf(w, "key\t%s\nredis key\t%s\n", in.cacheKey, plain(in.RedisKey))
	state := in.State
	if state == "none" {
		state = "no record"
	}
	if in.Record != nil {
		state += fmt.Sprintf(", version %s", in.Record.Version)
		if !in.Record.Readable {
			state += " (not readable)"
		}
	}
	fmt.Fprintf(w, "state\t%s\n", state)
	if in.Problem != "" {
		fmt.Fprintf(w, "problem\t%s\n", in.Problem)
	}
	if s := in.Source; s != nil {
		fmt.Fprintf(w, "source\tversion %s\t\n", s.Version)
		if s.Verdict != "" {
			fmt.Fprintf(w, "\t%s\n", verdicts[s.Verdict])
		}
	}
	in.Lease.print(w)
	position := "no relay has applied anything"
	if in.Bucketed.Position != "" {
		position = "applied up to " + in.Bucketed.Position
	}
	fmt.Fprintf(w, "bucket\t%d, incarnation %s, %s\n", in.Bucket, in.Bucketed.Incarnation, position)
	if in.Record != nil {
		in.Record.print(w)
	}
}

func (l inspectedLease) print(w io.Writer) {
	left := short(time.Duration(l.Left * float64(time.Second)))
	switch l.Holder {
	case "reader":
		fmt.Fprintf(w, "lease\ta reader loads; %s left\n", left)
	case "writers":
		fmt.Fprintf(w, "lease\t%d writers write, so no load fills; %s left\n", l.Writers, left)
	case "none":
		fmt.Fprintln(w, "lease\tnone")
	default:
		fmt.Fprintln(w, "lease\tbytes of another program; the next load replaces them")
	}
}

func (r *inspectedRecord) print(w io.Writer) {
	fmt.Fprintf(w, "written\t%s (%s)\n", r.WrittenAt.Format(time.RFC3339Nano), ago(r.WrittenAt))
	if r.RefreshAt != nil {
		fmt.Fprintf(w, "refreshed\t%s (%s)\n", r.RefreshAt.Format(time.RFC3339Nano), ago(*r.RefreshAt))
	}
	if r.ExpiresAt != nil {
		fmt.Fprintf(w, "expires\t%s (%s)\n", r.ExpiresAt.Format(time.RFC3339Nano), ago(*r.ExpiresAt))
	}
	shape := r.Shape
	if shape == "" {
		shape = "not known"
	}
	fmt.Fprintf(w, "type\tschema %d, shape %s, incarnation %s\n", r.Schema, shape, r.Incarnation)
	fmt.Fprintf(w, "size\t%d bytes\n", r.Bytes)
	for _, tag := range r.Tags {
		fmt.Fprintf(w, "tag\t%s, version %s\n", plain(tag.Name), tag.Version)
	}
	if r.Payload != nil {
		r.Payload.print(w)
	}
}
