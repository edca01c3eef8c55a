//go:build !ablate

package ablate

import "errors"

// Enabled says whether rules can be taken out of this binary.
const Enabled = false

// Out reports whether a rule has been taken out.
func Out(Rule) bool { return false }

// Take takes a rule out of the whole process until the next call; "" puts it back.
func Take(r Rule) error {
	if r == "" {
		return nil
	}
	return errors.New("ablate: " + string(r) + ": rules can be taken out only of a binary built with -tags ablate")
}
