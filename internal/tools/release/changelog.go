package main

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
	"time"
)

var versionForm = regexp.MustCompile(`^v(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)$`)

func checkVersion(version string) error {
	if !versionForm.MatchString(version) {
		return fmt.Errorf("VERSION is %q, and must be like v0.1.0", version)
	}
	return nil
}

const unreleased = "## Unreleased\n"

// closeUnreleased gives the section Unreleased of a change log the release's number and date, and begins an empty one.
func closeUnreleased(text, version string, day time.Time) (string, error) {
	before, section, found := strings.Cut(text, unreleased)
	if !found {
		return "", errors.New("CHANGELOG.md has no section Unreleased")
	}
	if strings.Contains(text, "\n## "+version+" ") {
		return "", fmt.Errorf("CHANGELOG.md has a section %s already", version)
	}
	notes, _, _ := strings.Cut(section, "\n## ")
	if !strings.Contains(notes, "\n- ") {
		return "", errors.New("CHANGELOG.md lists nothing under Unreleased")
	}
	heading := fmt.Sprintf("## %s - %s\n", version, day.Format(time.DateOnly))
	return before + unreleased + "\n" + heading + section, nil
}
