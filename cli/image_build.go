package cli

import (
	"archive/tar"
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/api"
)

type imageBuild struct {
	tag        string
	entrypoint []string
	env        []string
	user       string
	platform   string
}

func (a *app) imageBuildCommand() *cobra.Command {
	var f imageBuild
	cmd := &cobra.Command{
		Use:   "build BINARY…|FOLDER -t NAME[:TAG]",
		Short: "Make an image of a static binary, or of a folder",
		Long: `Make an image of a static binary, or of a folder that becomes its root, with nothing below and no Docker. Binaries of several architectures make one image
for all of them. The same input gives the same digest.`,
		Example: `  CGO_ENABLED=0 GOOS=linux go build -o shop . && hearth image build shop -t shop:1.2
  hearth image build shop-amd64 shop-arm64 -t shop:1.2
  hearth image build root/ --entrypoint /bin/serve -t site`,
		Args: args(1, -1, "a binary or a folder"),
		RunE: func(cmd *cobra.Command, args []string) error { return a.runImageBuild(cmd.Context(), args, f) },
	}
	fl := cmd.Flags()
	fl.StringVarP(&f.tag, "tag", "t", "", "keep it as `NAME[:TAG]`")
	fl.StringSliceVar(&f.entrypoint, "entrypoint", nil, "program and arguments; the binary when empty")
	fl.StringArrayVarP(&f.env, "env", "e", nil, "environment variable `NAME=VALUE`; may be repeated")
	fl.StringVar(&f.user, "user", "65532:65532", "`user[:group]` it runs as")
	fl.StringVar(&f.platform, "platform", "", "of a folder, such as linux/arm64; this machine's when empty")
	return cmd
}

func (a *app) runImageBuild(ctx context.Context, paths []string, f imageBuild) error {
	if f.tag == "" {
		return usage("hearth image build needs a name for the image").WithHint("such as -t %s", strings.TrimSuffix(filepath.Base(paths[0]), filepath.Ext(paths[0])))
	}
	for _, e := range f.env {
		if n, _, ok := strings.Cut(e, "="); !ok || n == "" {
			return usage("--env: %q is not NAME=VALUE", e).WithHint("such as --env LEVEL=debug")
		}
	}
	images := map[string]v1.Image{} // by platform
	for _, p := range paths {
		img, platform, err := buildImage(p, f)
		if err != nil {
			return err
		}
		if _, ok := images[platform]; ok {
			return usage("two of them are for %s", platform).WithHint("name one binary for each architecture")
		}
		images[platform] = img
	}
	var what any
	platforms := make([]string, 0, len(images))
	for p := range images {
		platforms = append(platforms, p)
	}
	slices.Sort(platforms)
	if len(platforms) == 1 {
		what = images[platforms[0]]
	} else {
		index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
		for _, p := range platforms {
			parsed, err := v1.ParsePlatform(p)
			if err != nil {
				return err
			}
			index = mutate.AppendManifests(index, mutate.IndexAddendum{Add: images[p], Descriptor: v1.Descriptor{Platform: parsed}})
		}
		what = index
	}
	s, err := a.shelf(ctx)
	if err != nil {
		return err
	}
	defer s.close()
	repo, tag, err := s.place(f.tag)
	if err != nil {
		return err
	}
	p := a.progress("building " + f.tag)
	got, err := s.push(what, repo, tag)
	p.done()
	if err != nil {
		return err
	}
	return a.kept([]stored{got})
}

// buildImage makes the image of one binary or folder.
func buildImage(file string, f imageBuild) (v1.Image, string, error) {
	st, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, "", api.Errorf(api.CodeNotFound, "cannot build %s: there is no such file or folder", file).WithHint("ls shows what is here")
	}
	if err != nil {
		return nil, "", err
	}
	var t tarWriter
	platform, entry := f.platform, f.entrypoint
	if st.IsDir() {
		if len(entry) == 0 {
			return nil, "", usage("a folder needs --entrypoint: which program of it to start").WithHint("such as --entrypoint /bin/serve")
		}
		if platform == "" {
			platform = "linux/" + runtime.GOARCH
		}
		err = t.folder(file)
	} else {
		arch, e := staticArch(file)
		if e != nil {
			return nil, "", e
		}
		platform = "linux/" + arch
		at := "/" + filepath.Base(file)
		if len(entry) == 0 {
			entry = []string{at}
		}
		t.start()
		err = t.file(file, strings.TrimPrefix(at, "/"), 0o755)
	}
	if err != nil {
		return nil, "", err
	}
	p, err := v1.ParsePlatform(platform)
	if err != nil || p.OS == "" || p.Architecture == "" {
		return nil, "", usage("--platform: %q is no platform", platform).WithHint("such as linux/arm64")
	}
	data, err := t.end()
	if err != nil {
		return nil, "", err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(data)), nil }, tarball.WithMediaType(types.OCILayer))
	if err != nil {
		return nil, "", err
	}
	img := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	if img, err = mutate.ConfigFile(img, &v1.ConfigFile{OS: p.OS, Architecture: p.Architecture, Variant: p.Variant, RootFS: v1.RootFS{Type: "layers"}, Config: v1.Config{
		Entrypoint: entry, Env: append([]string{"PATH=/usr/local/bin:/usr/bin:/bin"}, f.env...), User: f.user, WorkingDir: "/",
	}}); err != nil {
		return nil, "", err
	}
	img, err = mutate.Append(img, mutate.Addendum{Layer: layer, History: v1.History{CreatedBy: "hearth image build"}})
	return img, platform, err
}

// staticArch is the architecture of a binary that needs nothing beside it.
func staticArch(file string) (string, error) {
	e, err := elf.Open(file)
	if err != nil {
		return "", api.Errorf(api.CodeInvalid, "cannot build %s: it is no Linux binary", file).
			WithHint("CGO_ENABLED=0 GOOS=linux go build makes one; a folder becomes an image with --entrypoint")
	}
	defer e.Close()
	for _, p := range e.Progs {
		if p.Type == elf.PT_INTERP {
			return "", api.Errorf(api.CodeInvalid, "cannot build %s: it needs libraries that an empty image has not", file).
				WithHint("link it statically: CGO_ENABLED=0 go build")
		}
	}
	switch {
	case e.Machine == elf.EM_X86_64:
		return "amd64", nil
	case e.Machine == elf.EM_AARCH64:
		return "arm64", nil
	case e.Machine == elf.EM_ARM:
		return "arm", nil
	case e.Machine == elf.EM_386:
		return "386", nil
	case e.Machine == elf.EM_RISCV:
		return "riscv64", nil
	case e.Machine == elf.EM_PPC64 && e.ByteOrder.String() == "LittleEndian":
		return "ppc64le", nil
	case e.Machine == elf.EM_S390:
		return "s390x", nil
	}
	return "", api.Errorf(api.CodeUnsupported, "cannot build %s: it is for %s", file, e.Machine).WithHint("GOARCH=amd64 go build makes one for most machines")
}

// tarWriter writes a layer in which nothing depends on when and by whom it was
// made.
type tarWriter struct {
	b bytes.Buffer
	w *tar.Writer
}

// start writes what programs expect of any root: a place for temporary files
// and a name for the user.
func (t *tarWriter) start() {
	t.w = tar.NewWriter(&t.b)
	_ = t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "etc/", Mode: 0o755, ModTime: time.Unix(0, 0)})
	for _, f := range [][2]string{
		{"etc/passwd", "root:x:0:0:root:/:/sbin/nologin\nnonroot:x:65532:65532:nonroot:/:/sbin/nologin\n"},
		{"etc/group", "root:x:0:\nnonroot:x:65532:\n"},
	} {
		_ = t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: f[0], Size: int64(len(f[1])), Mode: 0o644, ModTime: time.Unix(0, 0)})
		_, _ = io.WriteString(t.w, f[1]) // a buffer takes everything
	}
	_ = t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: "tmp/", Mode: 0o1777, ModTime: time.Unix(0, 0)})
}

func (t *tarWriter) end() ([]byte, error) {
	err := t.w.Close()
	return t.b.Bytes(), err
}

func (t *tarWriter) file(from, name string, mode int64) error {
	f, err := os.Open(from)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	if err := t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: name, Size: st.Size(), Mode: mode, ModTime: time.Unix(0, 0)}); err != nil {
		return err
	}
	_, err = io.Copy(t.w, f)
	return err
}

// folder writes a folder's files, folders and links, sorted by name.
func (t *tarWriter) folder(dir string) error {
	t.w = tar.NewWriter(&t.b)
	return filepath.WalkDir(dir, func(p string, e fs.DirEntry, err error) error {
		if err != nil || p == dir {
			return err
		}
		rel, err := filepath.Rel(dir, p)
		if err != nil {
			return err
		}
		name := path.Clean(filepath.ToSlash(rel))
		st, err := e.Info()
		if err != nil {
			return err
		}
		switch {
		case e.IsDir():
			mode := int64(st.Mode().Perm())
			if st.Mode()&fs.ModeSticky != 0 {
				mode |= 0o1000
			}
			return t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: name + "/", Mode: mode, ModTime: time.Unix(0, 0)})
		case e.Type() == fs.ModeSymlink:
			to, err := os.Readlink(p)
			if err != nil {
				return err
			}
			return t.w.WriteHeader(&tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: to, Mode: 0o777, ModTime: time.Unix(0, 0)})
		case e.Type().IsRegular():
			return t.file(p, name, int64(st.Mode().Perm()))
		}
		return usage("%s is neither file, folder nor link", p)
	})
}
