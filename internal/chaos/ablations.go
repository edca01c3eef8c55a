//go:build unix

package chaos

// Faults are the names of all faults.
func Faults() []string { return faultNames() }

// Exposes are the faults that are most likely to show that a rule of internal/ablate is gone; none: any will do.
func Exposes(rule string) []string { return exposes[rule] }

var exposes = map[string][]string{}
