package cli

import (
	"archive/tar"
	"bufio"
	"compress/gzip"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
)

func (a *app) imageLoadCommand() *cobra.Command {
	var tag string
	cmd := &cobra.Command{
		Use:   "load FILE.tar | -",
		Short: "Keep the images of an archive",
		Long:  "Keep the images of an archive: what docker save writes, or an OCI layout as tar, also compressed by gzip. Their names come from the archive; hosts of other registries are left out.",
		Example: `  docker save shop:1.2 | hearth image load -
  hearth image load shop.tar -t shop:1.3`,
		Args: args(1, 1, "the name of an archive"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.imageLoad(cmd.Context(), args[0], tag) },
	}
	cmd.Flags().StringVarP(&tag, "tag", "t", "", "keep it as `NAME[:TAG]`")
	return cmd
}

// archived is an image of an archive, with what it is called there.
type archived struct {
	what  any // v1.Image or v1.ImageIndex
	names []string
}

func (a *app) imageLoad(ctx context.Context, file, tag string) error {
	dir, err := os.MkdirTemp("", "hearth-image-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	label := file
	if file == "-" {
		label, file = "the archive", filepath.Join(dir, "in.tar")
		if err := spool(a.In, file); err != nil {
			return err
		}
	}
	images, err := readImages(file, filepath.Join(dir, "layout"))
	if err != nil {
		var e *api.Error
		if errors.As(err, &e) {
			return err
		}
		return api.Errorf(api.CodeInvalid, "cannot load %s: %w", label, err).WithHint("docker save NAME -o FILE.tar writes one")
	}
	switch {
	case len(images) == 0:
		return api.Errorf(api.CodeInvalid, "%s holds no image", label).WithHint("docker save NAME -o FILE.tar writes one")
	case tag != "" && len(images) > 1:
		return usage("--tag is for one image; %s holds %d", label, len(images)).WithHint("leave --tag out: the archive has their names")
	case tag != "":
		images[0].names = []string{tag}
	}
	s, err := a.shelf(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	var list []stored
	for _, i := range images {
		if len(i.names) == 0 {
			return usage("an image in %s has no name", label).WithHint("hearth image load FILE.tar -t NAME:TAG")
		}
		for _, n := range i.names {
			repo, tag, err := s.place(n)
			if err != nil {
				return err
			}
			p := a.progress("loading " + n)
			got, err := s.push(i.what, repo, tag)
			p.done()
			if err != nil {
				return err
			}
			list = append(list, got)
		}
	}
	return a.kept(list)
}

func spool(in io.Reader, file string) error {
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, in)
	return errors.Join(err, f.Close())
}

// readImages finds the images of an archive. OCI layouts are unpacked to dir.
func readImages(file, dir string) ([]archived, error) {
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		return nil, api.Errorf(api.CodeNotFound, "cannot load %s: there is no such file", file).WithHint("docker save NAME -o FILE.tar writes one")
	}
	open := func() (io.ReadCloser, error) { return openTar(file) }
	if m, err := tarball.LoadManifest(open); err == nil {
		return dockerImages(open, m)
	}
	if err := unpackLayout(open, dir); err != nil {
		return nil, err
	}
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		return nil, errors.New("it is neither an archive of docker save nor an OCI layout")
	}
	m, err := index.IndexManifest()
	if err != nil {
		return nil, err
	}
	var all []archived
	for _, d := range m.Manifests {
		p := archived{names: layoutNames(d.Annotations)}
		switch {
		case d.MediaType.IsIndex():
			x, err := index.ImageIndex(d.Digest)
			if err != nil {
				return nil, err
			}
			p.what = present(x, dir)
		case d.MediaType.IsImage():
			if p.what, err = index.Image(d.Digest); err != nil {
				return nil, err
			}
		default:
			continue
		}
		all = append(all, p)
	}
	return all, nil
}

func dockerImages(open tarball.Opener, m tarball.Manifest) ([]archived, error) {
	var all []archived
	for _, d := range m {
		var first *name.Tag
		if len(d.RepoTags) > 0 {
			t, err := name.NewTag(d.RepoTags[0])
			if err != nil {
				return nil, err
			}
			first = &t
		} else if len(m) > 1 {
			return nil, usage("an image in the archive has no name").WithHint("docker save NAME:TAG keeps the name")
		}
		img, err := tarball.Image(open, first)
		if err != nil {
			return nil, err
		}
		all = append(all, archived{img, d.RepoTags})
	}
	return all, nil
}

// layoutNames is what tools note of an image's name.
func layoutNames(notes map[string]string) []string {
	for _, key := range []string{"io.containerd.image.name", "org.opencontainers.image.ref.name"} {
		n := notes[key]
		if _, err := name.ParseReference(n, name.WithDefaultTag("")); n == "" || err != nil {
			continue
		}
		if key != "io.containerd.image.name" && !strings.ContainsAny(n, "/:") {
			continue // only a tag
		}
		return []string{n}
	}
	return nil
}

// present leaves out of an index what the archive does not hold: saving one
// platform keeps the index of all.
func present(x v1.ImageIndex, dir string) v1.ImageIndex {
	return mutate.RemoveManifests(x, func(d v1.Descriptor) bool {
		_, err := os.Stat(filepath.Join(dir, "blobs", d.Digest.Algorithm, d.Digest.Hex))
		return err != nil
	})
}

// openTar opens an archive, through gzip where it is compressed.
func openTar(file string) (io.ReadCloser, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	b := bufio.NewReader(f)
	var r io.Reader = b
	if head, _ := b.Peek(2); len(head) == 2 && head[0] == 0x1f && head[1] == 0x8b {
		if r, err = gzip.NewReader(b); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return struct {
		io.Reader
		io.Closer
	}{r, f}, nil
}

var layoutFile = regexp.MustCompile(`^(oci-layout|index\.json|blobs/[a-z0-9]+/[a-f0-9]+)$`)

// unpackLayout writes the files of an OCI layout, and no others.
func unpackLayout(open tarball.Opener, dir string) error {
	r, err := open()
	if err != nil {
		return err
	}
	defer r.Close()
	t := tar.NewReader(r)
	for {
		e, err := t.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		n := path.Clean(e.Name)
		if e.Typeflag != tar.TypeReg || !layoutFile.MatchString(n) {
			continue
		}
		to := filepath.Join(dir, filepath.FromSlash(n))
		if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
			return err
		}
		if err := spool(t, to); err != nil {
			return err
		}
	}
}
