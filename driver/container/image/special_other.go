//go:build !linux

package image

import (
	"context"
	"errors"
	"os"
)

// supported says that images can be unpacked and run here.
const supported = false

func bootID() string                                         { return "" }
func isErrno(error) bool                                     { return false }
func mkwhiteout(*os.File, string) error                      { return errors.ErrUnsupported }
func mkfifo(*os.File, string) error                          { return errors.ErrUnsupported }
func markOpaque(*os.File, bool) error                        { return errors.ErrUnsupported }
func setXattrs(*os.File, map[string]string) error            { return errors.ErrUnsupported }
func own(*os.File, *owner) error                             { return errors.ErrUnsupported }
func ownAt(*os.File, string, *owner, bool) error             { return errors.ErrUnsupported }
func syncAll(*os.File) error                                 { return errors.ErrUnsupported }
func mergeInto(context.Context, string, string, about) error { return errors.ErrUnsupported }
