package nearcache

import "errors"

// The errors of reads and writes. They come wrapped; compare with errors.Is.
var (
	// ErrNotFound says that the key is absent. A Loader returns it, with the absence's version in the Entry if it has
	// one, and the absence is cached for Options.AbsentTTL.
	ErrNotFound = errors.New("nearcache: not found")
	// ErrNotModified is how a Loader says that the entry it was shown by Previous is still the state of its key.
	ErrNotModified = errors.New("nearcache: not modified")
	// ErrNotReady says that no tier has the version that ReadOptions.AtLeast asks for.
	ErrNotReady = errors.New("nearcache: the version asked for is not there yet")
	// ErrClosed says that the client has been closed.
	ErrClosed = errors.New("nearcache: closed")
	// ErrPanic wraps a panic of a callback, or its runtime.Goexit.
	ErrPanic = errors.New("nearcache: a callback panicked")
	// ErrLoadCycle says that a Loader reads a key that cannot be there before the Loader has returned: its own key, or
	// one whose Loader waits for it. The error names the keys.
	ErrLoadCycle = errors.New("nearcache: loads wait for one another")
	// ErrCodec says that a value could not be encoded, or that what was decoded again differs from it.
	ErrCodec = errors.New("nearcache: the codec does not keep the value")
	// ErrForeignVersion says that a Loader returned a version that is not the Source's: it has versions of its own, or
	// none, or names its keys otherwise than the trigger does. The first loads of a cache are checked.
	ErrForeignVersion = errors.New("nearcache: the Loader's version is not the source's")
	// ErrUnsupported says that something was asked for that cannot be had: its premise is missing, as a bound's without a
	// relay, or no cache can find the key again, as a NaN.
	ErrUnsupported = errors.New("nearcache: unsupported")
	// ErrNotCommitted is what a transaction given to Write returns (wrapped) when it certainly changed nothing: a
	// conflict, a validation. Then nothing needs to be invalidated. Any other error may hide a commit.
	ErrNotCommitted = errors.New("nearcache: not committed")
	// ErrNotInvalidated says that a write went through but could not be sent to L2. The invalidation is retried in the
	// background; until it succeeds other instances may serve the old value (see the package's guarantees).
	ErrNotInvalidated = errors.New("nearcache: written, but not yet invalidated")
)
