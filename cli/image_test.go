package cli_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/hearth-run/hearth/control/registry"
	"github.com/hearth-run/hearth/control/registry/registrytest"
	"github.com/hearth-run/hearth/core/identity"
	"github.com/hearth-run/hearth/driver/token"
)

// images is a registry behind as much of an API as the image commands ask for.
type images struct {
	*registrytest.Server
	t    *testing.T
	vars map[string]string
}

func newImages(t *testing.T) *images {
	t.Helper()
	tokens, err := token.Open(filepath.Join(t.TempDir(), "key"))
	if err != nil {
		t.Fatal(err)
	}
	secret, err := tokens.Issue(t.Context(), identity.Caller{Name: "ada", Roles: []string{identity.RoleEditor}, Namespaces: []string{"default", "shop"}}, 0)
	if err != nil {
		t.Fatal(err)
	}
	reg, err := registry.Open(registry.Options{Dir: filepath.Join(t.TempDir(), "registry"), Identity: tokens})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.Handle("/v2/", reg)
	mux.HandleFunc("/hearth/v1/status", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "{}") })
	srv := registrytest.Serve(t, mux, secret)
	return &images{Server: srv, t: t, vars: map[string]string{"HOME": t.TempDir(), "HEARTH_URL": srv.URL, "HEARTH_TOKEN": secret}}
}

// must runs a command that works and returns its output and talk.
func (i *images) must(in string, args ...string) (out, errs string) {
	i.t.Helper()
	code, out, errs := run(i.t, in, i.vars, args...)
	if code != 0 {
		i.t.Fatalf("hearth %s: exit %d: %s", strings.Join(args, " "), code, errs)
	}
	return out, errs
}

// dockerTar is what docker save writes.
func dockerTar(t *testing.T, images map[string]v1.Image) string {
	t.Helper()
	all := map[name.Tag]v1.Image{}
	for n, img := range images {
		tag, err := name.NewTag(n)
		if err != nil {
			t.Fatal(err)
		}
		all[tag] = img
	}
	file := filepath.Join(t.TempDir(), "saved.tar")
	if err := tarball.MultiWriteToFile(file, all); err != nil {
		t.Fatal(err)
	}
	return file
}

// layoutTar packs an OCI layout; drop leaves blobs out.
func layoutTar(t *testing.T, drop string, fill func(p layout.Path) error) string {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	if err := fill(p); err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || drop != "" && strings.HasSuffix(path, drop) {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		if err := w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "./" + rel, Size: int64(len(data)), Mode: 0o644}); err != nil {
			return err
		}
		_, err = w.Write(data)
		return err
	})
	if err == nil {
		err = w.WriteHeader(&tar.Header{Typeflag: tar.TypeReg, Name: "../../evil", Mode: 0o644})
	}
	if err != nil {
		t.Fatal(err)
	}
	w.Close()
	file := filepath.Join(t.TempDir(), "layout.tar")
	if err := os.WriteFile(file, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
	return file
}

func named(n string) layout.Option {
	return layout.WithAnnotations(map[string]string{"io.containerd.image.name": n, "org.opencontainers.image.ref.name": "x"})
}

func TestImageLoad(t *testing.T) {
	i := newImages(t)
	one, two := registrytest.Image(t), registrytest.Image(t)
	saved := dockerTar(t, map[string]v1.Image{"shop:1.2": one})
	_, errs := i.must("", "image", "load", saved)
	if !strings.HasPrefix(errs, "✓ image hearth.local/default/shop:1.2   ") || !strings.Contains(errs, "linux/"+runtime.GOARCH) {
		t.Error(errs)
	}
	data, err := os.ReadFile(saved)
	if err != nil {
		t.Fatal(err)
	}
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	_, _ = z.Write(data)
	z.Close()
	for _, c := range []struct {
		in   string
		args []string
		want string
	}{
		{"", []string{saved, "-t", "other"}, "hearth.local/default/other:latest"},
		{"", []string{saved, "-t", "hearth.local/shop/deep/er:1"}, "hearth.local/shop/deep/er:1"},
		{"", []string{saved, "-n", "shop"}, "hearth.local/shop/shop:1.2"},
		{string(data), []string{"-", "-t", "piped:1"}, "hearth.local/default/piped:1"},
		{zipped.String(), []string{"-", "-t", "zipped:1"}, "hearth.local/default/zipped:1"},
		{"", []string{dockerTar(t, map[string]v1.Image{"ghcr.io/team/app:v3": two})}, "hearth.local/default/team/app:v3"},
		{"", []string{layoutTar(t, "", func(p layout.Path) error { return p.AppendImage(one, named("docker.io/library/oci:1")) })}, "hearth.local/default/oci:1"},
		{"", []string{layoutTar(t, "", func(p layout.Path) error { return p.AppendImage(one) }), "-t", "unnamed:1"}, "hearth.local/default/unnamed:1"},
	} {
		out, _ := i.must(c.in, append([]string{"image", "load", "-o", "name"}, c.args...)...)
		if out != c.want+"\n" {
			t.Errorf("%v: %q, want %s", c.args, out, c.want)
		}
		i.Digest(strings.TrimPrefix(c.want, "hearth.local/"))
	}
	// Two images, each under its name.
	out, _ := i.must("", "image", "load", "-o", "name", dockerTar(t, map[string]v1.Image{"a:1": one, "b:1": two}))
	if got := strings.Fields(out); !slices.Contains(got, "hearth.local/default/a:1") || !slices.Contains(got, "hearth.local/default/b:1") || len(got) != 2 {
		t.Error(out)
	}
	// An index keeps its digest; one that was saved in part keeps that part.
	index := mutate.IndexMediaType(mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: one, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}}},
		mutate.IndexAddendum{Add: two, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: "arm64"}}}), types.OCIImageIndex)
	fill := func(p layout.Path) error { return p.AppendIndex(index, named("example.com/multi:1")) }
	i.must("", "image", "load", layoutTar(t, "", fill))
	if d, _ := index.Digest(); i.Digest("default/multi:1") != d.String() {
		t.Error("the index has another digest")
	}
	gone, _ := two.Digest()
	i.must("", "image", "load", layoutTar(t, gone.Hex, fill), "-t", "part:1")
	x, err := remote.Index(i.Ref("default/part:1"), i.Auth)
	if err != nil {
		t.Fatal(err)
	}
	if m, _ := x.IndexManifest(); len(m.Manifests) != 1 || validate.Index(x) != nil {
		t.Errorf("%+v", m)
	}

	for _, c := range []struct {
		args       []string
		code       int
		says, hint string
	}{
		{[]string{dockerTar(t, map[string]v1.Image{"a:1": one, "b:1": two}), "-t", "x"}, 2, "--tag is for one image", "leave --tag out"},
		{[]string{layoutTar(t, "", func(p layout.Path) error { return p.AppendImage(one) })}, 2, "has no name", "-t NAME:TAG"},
		{[]string{saved, "-t", "Not A Name"}, 2, "is no name of an image", "such as shop:1.2"},
		{[]string{saved, "-t", "x@sha256:" + strings.Repeat("a", 64)}, 2, "names a digest", "such as"},
		{[]string{saved, "-n", "bank"}, 4, "ada may not get images.hearth.run shop in tenant bank", "role"},
		{[]string{layoutTar(t, "", func(layout.Path) error { return nil })}, 1, "holds no image", "docker save"},
	} {
		code, out, errs := run(t, "", i.vars, append([]string{"image", "load"}, c.args...)...)
		if code != c.code || out != "" || !strings.Contains(errs, c.says) || !strings.Contains(errs, c.hint) {
			t.Errorf("%v: exit %d, %s %s", c.args, code, out, errs)
		}
	}
	i.vars["HEARTH_TOKEN"] = "wrong"
	if code, _, errs := run(t, "", i.vars, "image", "ls"); code != 4 || !strings.Contains(errs, "token") {
		t.Errorf("with a wrong token: exit %d %s", code, errs)
	}
}

func TestImageList(t *testing.T) {
	i := newImages(t)
	if out, errs := i.must("", "image", "ls"); out != "" || !strings.Contains(errs, "there are no images in tenant default") {
		t.Errorf("%q %q", out, errs)
	}
	img := registrytest.Image(t)
	i.must("", "image", "load", dockerTar(t, map[string]v1.Image{"shop:1": img, "cart:2": registrytest.Image(t)}))
	i.must("", "image", "load", dockerTar(t, map[string]v1.Image{"elsewhere:1": img}), "-n", "shop")
	out, _ := i.must("", "image", "ls")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !strings.HasPrefix(lines[0], "IMAGE ") || !strings.HasPrefix(lines[1], "hearth.local/default/cart:2 ") || !strings.HasPrefix(lines[2], "hearth.local/default/shop:1 ") {
		t.Error(out)
	}
	out, _ = i.must("", "image", "ls", "-o", "json")
	var list []struct {
		Image, Digest string
		Size          int64
		Platforms     []string
	}
	if err := json.Unmarshal([]byte(out), &list); err != nil || len(list) != 2 || list[1].Digest != i.Digest("default/shop:1") || list[1].Size < 4000 || len(list[1].Platforms) != 1 {
		t.Errorf("%v %s", err, out)
	}
	if _, errs := i.must("", "image", "rm", "shop:1", "hearth.local/default/cart:2"); strings.Count(errs, "✓") != 2 {
		t.Error(errs)
	}
	if out, _ := i.must("", "image", "ls", "-o", "name"); out != "" {
		t.Error(out)
	}
	code, _, errs := run(t, "", i.vars, "image", "rm", "shop:1")
	if code != 3 || !strings.Contains(errs, "default/shop has no image 1") || !strings.Contains(errs, "hearth image ls") {
		t.Errorf("exit %d %s", code, errs)
	}
}

// TestImageBuild: what is built runs nowhere here, but has all it should.
func TestImageBuild(t *testing.T) {
	i := newImages(t)
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.MkdirAll("root/bin", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("root/bin/serve", []byte("#!"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/bin/serve", "root/link"); err != nil {
		t.Fatal(err)
	}
	i.must("", "image", "build", "root", "-t", "site:1", "--entrypoint", "/bin/serve,-v", "-e", "A=b", "--platform", "linux/arm64")
	first := i.Digest("default/site:1")
	i.must("", "image", "build", "root/", "-t", "site:2", "--entrypoint", "/bin/serve,-v", "-e", "A=b", "--platform", "linux/arm64")
	if i.Digest("default/site:2") != first {
		t.Error("the same folder makes another digest")
	}
	img, err := remote.Image(i.Ref("default/site:1"), i.Auth)
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Image(img); err != nil {
		t.Error(err)
	}
	c, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if c.Architecture != "arm64" || !slices.Equal(c.Config.Entrypoint, []string{"/bin/serve", "-v"}) || !slices.Contains(c.Config.Env, "A=b") || c.Config.User != "65532:65532" {
		t.Errorf("%+v", c)
	}
	var names []string
	r := tar.NewReader(mutate.Extract(img))
	for {
		e, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, strings.TrimSuffix(e.Name, "/"))
	}
	if slices.Sort(names); !slices.Equal(names, []string{"bin", "bin/serve", "link"}) {
		t.Error(names)
	}
}
