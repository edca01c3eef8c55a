package coherence

import "fmt"

// UnpublishedError is what Publisher.Publish returns when messages of a batch can never be published: they are larger
// than the log takes, or their codec fails. All others of the batch are durable.
//
// The relay goes on without them. Their sequence numbers are left out, so that whoever follows the log learns that
// something is missing, and vouches for nothing from before.
type UnpublishedError struct {
	Messages map[int]error // by index in the batch
}

// Error implements error.
func (e *UnpublishedError) Error() string {
	for i, err := range e.Messages {
		return fmt.Sprintf("coherence: %d messages cannot be published; message %d: %v", len(e.Messages), i, err)
	}
	return "coherence: no message is unpublished"
}
