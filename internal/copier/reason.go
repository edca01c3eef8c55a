package copier

import (
	"errors"
	"time"

	"github.com/nearcache/nearcache-go/internal/ablate"
	"github.com/nearcache/nearcache-go/internal/l2"
)

// Reason is why a record was not copied.
type Reason string

// The reasons for which a record is left out. A read of the new place loads it from the source, if it is asked for.
const (
	Present     Reason = "present"      // the new place has the key already
	Loading     Reason = "loading"      // an instance loads the key into the new place
	Writing     Reason = "writing"      // a write of the key is under way in the new place
	Gone        Reason = "gone"         // it was dropped or has expired since the scan found it
	Expired     Reason = "expired"      // it is past its TTL, and kept for fail-safe alone
	Unbelieved  Reason = "unbelieved"   // readers miss it: of another incarnation, or unconfirmed
	Corrupt     Reason = "corrupt"      // it is no record of its key
	NewerFormat Reason = "newer_format" // a later release wrote it
	Foreign     Reason = "foreign"      // its name is not one of this prefix and number of buckets
	Changed     Reason = "changed"      // a change of the key reached the new place meanwhile
)

// The failures. The same command again may copy these records.
const (
	Unproved    Reason = "unproved"     // the old place did not show in time that it is up to date
	NoWatermark Reason = "no_watermark" // the bucket of the new place has no watermark: its relay has not been there
	Unreachable Reason = "unreachable"  // Redis did not answer, or refused
)

// failure reports whether the reason is a failure.
func (r Reason) failure() bool { return r == Unproved || r == NoWatermark || r == Unreachable }

// notGranted is why a lease was not granted.
func notGranted(s l2.LeaseStatus) Reason {
	switch s {
	case l2.Busy:
		return Loading
	case l2.Writing:
		return Writing
	}
	return Present // Newer too: a record of a newer schema is there
}

// decoded parses a record that was read of a key. now is the wall clock.
func decoded(k l2.Key, got l2.TimedResponse, now time.Time) (rec l2.Record, why Reason) {
	switch {
	case errors.Is(got.Err, l2.ErrWrongType):
		return rec, Corrupt
	case got.Err != nil:
		return rec, Unreachable
	case got.Raw == nil || got.Left == 0:
		return rec, Gone
	}
	rec, err := l2.DecodeRecord(got.Raw)
	switch {
	case errors.Is(err, l2.ErrNewerFormat):
		return rec, NewerFormat
	case err != nil || rec.KeyHash != k.Hash || got.Left < 0:
		return rec, Corrupt
	case !rec.ExpiresAt.IsZero() && !rec.ExpiresAt.After(now):
		return rec, Expired
	}
	return rec, ""
}

// believed is why a record of the old place must not be copied, "" if it may. incarnation is that of its bucket, asOf a
// moment at which the source held nothing newer than the record, and granted a moment at which the lease stood.
func believed(rec *l2.Record, incarnation l2.Incarnation, asOf, granted int64) Reason {
	switch {
	case asOf < granted && !ablate.Out(ablate.CopyProof):
		return Unproved
	case rec.Incarnation != incarnation && !ablate.Out(ablate.CopyIncarnation):
		return Unbelieved
	}
	return ""
}

// carried is the record for the new place. Its version stays, so that a later change is known to be one.
func carried(rec l2.Record) l2.Record {
	if ablate.Out(ablate.CopyVersion) {
		rec.Version = 0
	}
	return rec
}
