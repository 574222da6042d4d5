package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
)

// Copy makes the folder to, which must not exist, and writes the merged tree of
// all layers into it, as overlayfs would show it. The folder above must exist and
// be private. A copy that fails is removed. It is how images run where overlayfs
// is refused.
func (i *Image) Copy(ctx context.Context, to string) (err error) {
	if err := os.Mkdir(to, 0o755); err != nil {
		return problem(err)
	}
	defer func() {
		if err != nil {
			err = errors.Join(problem(err), removeAll(to))
		}
	}()
	for _, l := range i.Layers {
		data, err := os.ReadFile(filepath.Join(filepath.Dir(l), "layer.json"))
		if err != nil {
			return err
		}
		a, err := readAbout(data)
		if err != nil {
			return err
		}
		if err := mergeInto(ctx, l, to, a); err != nil {
			return err
		}
	}
	return nil
}
