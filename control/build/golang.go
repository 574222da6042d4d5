package build

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"

	"github.com/hearth-run/hearth/api"
)

// goBinary is the program in a Go function's artifact: /code/handler.
const goBinary = "handler"

// makeGo builds the program. The artifact has it and every file of the source
// that is no Go code, so that a program finds its templates.
func (j *job) makeGo(ctx context.Context) (string, error) {
	tool, err := j.tool(ctx, "go")
	if err != nil {
		return "", err
	}
	src := j.src()
	if wrap := j.b.cfg.WrapGo; wrap != nil {
		files, err := wrap(os.DirFS(src), j.r.Function.Spec.Handler)
		if err != nil {
			return "", j.goWrapFailed(err)
		}
		if err := writeFiles(src, files, 0o644); err != nil {
			return "", err
		}
	}
	if _, err := os.Lstat(filepath.Join(src, "go.mod")); os.IsNotExist(err) {
		mod := "module function\n\ngo " + majorMinor(tool.Version) + "\n"
		if err := os.WriteFile(filepath.Join(src, "go.mod"), []byte(mod), 0o644); err != nil {
			return "", api.Errorf(api.CodeDisk, "write go.mod: %w", err)
		}
	}
	out := filepath.Join(j.dir, "out")
	if err := os.Mkdir(out, 0o755); err != nil {
		return "", api.Errorf(api.CodeDisk, "make a build folder: %w", err)
	}
	env := map[string]string{
		"CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": "-mod=mod", "GOWORK": "off",
		"GOCACHE": j.cacheDir("go-build"), "GOPATH": j.cacheDir("go"), "GOMODCACHE": j.cacheDir("go-mod"),
	}
	if _, err := os.Lstat(filepath.Join(src, "vendor", "modules.txt")); err == nil {
		env["GOFLAGS"] = "-mod=vendor"
	}
	exit, err := j.exec(ctx, "host", env, tool.Path, "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w -buildid=", "-o", filepath.Join(out, goBinary), ".")
	if err != nil {
		return "", err
	}
	if exit != 0 {
		return "", j.goFailed(exit)
	}
	return out, j.goAssets(out)
}

func (j *job) goWrapFailed(err error) error {
	if bad := j.goPlaces(err.Error()); len(bad) > 0 {
		return failed(bad, j.log)
	}
	var e *api.Error
	if errors.As(err, &e) {
		return e
	}
	return (&api.Error{Code: api.CodeBuildFailed, Message: err.Error(), Cause: err}).WithHint("hearth help go shows what a Go function looks like")
}

var goPlace = regexp.MustCompile(`^(?:\./)?([^\s:]+\.(?:go|mod)):(\d+):(?:(\d+):)? (.*)$`)

// goFailed reads the compiler's words.
func (j *job) goFailed(exit int) error {
	bad := j.goPlaces(j.log.tail(200))
	if len(bad) == 0 {
		return j.toolFailed("go build", exit, nil)
	}
	return failed(bad, newBuildLog(1, nil)) // the log has it already
}

func (j *job) goPlaces(words string) (bad []place) {
	for line := range strings.Lines(words) {
		m := goPlace.FindStringSubmatch(strings.TrimRight(line, "\r\n"))
		if m == nil {
			continue
		}
		p := place{file: m[1], message: m[4]}
		p.line, _ = strconv.Atoi(m[2])
		p.text = readLine(j.src(), p.file, p.line)
		if offset, err := strconv.Atoi(m[3]); err == nil {
			p.col = column(p.text, offset-1)
		}
		bad = append(bad, p)
	}
	return bad
}

// goAssets links what is no Go code into the artifact's folder.
func (j *job) goAssets(out string) error {
	src, err := os.OpenRoot(j.src())
	if err != nil {
		return api.Errorf(api.CodeDisk, "copy files: %w", err)
	}
	defer src.Close()
	t, err := newTree(out, j.b.cfg.Limits)
	if err != nil {
		return err
	}
	defer t.root.Close()
	t.mixed = true
	return fs.WalkDir(src.FS(), ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || name == "." {
			return err
		}
		if d.IsDir() {
			if name == "vendor" || name == ".hearth" {
				return fs.SkipDir
			}
			return nil // made when a file needs it
		}
		switch {
		case strings.HasSuffix(name, ".go"), name == "go.mod", name == "go.sum":
			return nil
		case name == goBinary || strings.HasPrefix(name, goBinary+"/"):
			return api.Errorf(api.CodeBuildFailed, "%s is in the way: the built program has the name %q", name, goBinary).WithHint("rename the file or folder")
		}
		return copyEntry(src, t, name, d.Type())
	})
}

func majorMinor(v string) string {
	parts := strings.SplitN(v, ".", 3)
	if len(parts) < 2 {
		return "1.21"
	}
	return parts[0] + "." + parts[1]
}
