package suite

import "errors"

// cleanups are functions that undo set-up steps. They run in reverse order.
type cleanups []func() error

func (c *cleanups) add(f func() error) { *c = append(*c, f) }

// close runs the functions and returns their errors.
func (c *cleanups) close() (err error) {
	for i := len(*c) - 1; i >= 0; i-- {
		err = errors.Join(err, (*c)[i]())
	}
	*c = nil
	return err
}

// noError makes a cleanup of a function that cannot fail.
func noError(f func()) func() error { return func() error { f(); return nil } }
