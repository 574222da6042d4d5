//go:build !linux && !darwin

package cli

import (
	"errors"

	"golang.org/x/term"
)

// keyMode is not there: up works without keys.
func keyMode(int) (*term.State, error) { return nil, errors.ErrUnsupported }
