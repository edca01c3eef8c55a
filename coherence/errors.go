package coherence

import "errors"

// ErrMisconfigured says that a Source or an EventSource can never work as it is configured: a wrong password, a missing
// right, a schema that is not installed. Waiting does not help. A driver wraps it, with what to do in the message.
// nearcache.New returns it if it finds out in time; later it is a reason in nearcache.Status.
var ErrMisconfigured = errors.New("coherence: misconfigured")
