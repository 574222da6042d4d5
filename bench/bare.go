package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"
)

// bareEnv is the environment of bare programs: that of instances. Anything more
// would slow interpreters down (NODE_EXTRA_CA_CERTS alone doubles Node's start)
// and flatter hearth.
func bareEnv() []string {
	return []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/tmp", "LANG=C.UTF-8"}
}

// bare returns the command that does without hearth what the function of a
// language does: print one byte.
func (b *bench) bare(language string) ([]string, error) {
	write := func(name, text string) (string, error) {
		path := filepath.Join(b.dir, "bare", name)
		return path, errors.Join(os.MkdirAll(filepath.Dir(path), 0o755), os.WriteFile(path, []byte(text), 0o644))
	}
	switch language {
	case "node":
		i := b.find("node")
		path, err := write("x.js", "process.stdout.write('x')\n")
		return []string{i.Path, path}, errors.Join(err, i.Err)
	case "python":
		i := b.find("python")
		path, err := write("x.py", "import sys\nsys.stdout.write('x')\nsys.stdout.flush()\n")
		return []string{i.Path, path}, errors.Join(err, i.Err)
	default:
		_, err := write("x/main.go", "package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(\"x\") }\n")
		if err != nil {
			return nil, err
		}
		program, err := b.compile(filepath.Join(b.dir, "bare", "x", "main.go"), "x")
		return []string{program}, err
	}
}

// compile makes a static program of one Go file.
func (b *bench) compile(file, name string) (string, error) {
	i := b.find("go")
	if i.Err != nil {
		return "", i.Err
	}
	program := filepath.Join(b.dir, "bin", name)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	cmd := exec.CommandContext(b.ctx, i.Path, "build", "-trimpath", "-o", program, file)
	cmd.Env, cmd.Stderr = append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	return program, cmd.Run()
}

// execute runs a command until the first byte it prints, and returns how long
// that took. It returns once the program has ended.
func execute(command []string) (time.Duration, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return 0, err
	}
	defer r.Close()
	var one [1]byte
	begin := time.Now()
	p, err := os.StartProcess(command[0], command, &os.ProcAttr{Env: bareEnv(), Files: []*os.File{nil, w, os.Stderr}})
	if err != nil {
		w.Close()
		return 0, err
	}
	w.Close()
	_, err = r.Read(one[:])
	took := time.Since(begin)
	_, werr := p.Wait()
	return took, errors.Join(err, werr)
}

// executeAll starts n of a command at once and returns when the last has
// printed.
func executeAll(command []string, n int) (time.Duration, error) {
	var wg sync.WaitGroup
	printed := make([]time.Duration, n)
	errs := make([]error, n)
	begin := time.Now()
	for i := range n {
		wg.Go(func() {
			late := time.Since(begin)
			printed[i], errs[i] = execute(command)
			printed[i] += late
		})
	}
	wg.Wait()
	last := time.Duration(0)
	for _, d := range printed {
		last = max(last, d)
	}
	return last, errors.Join(errs...)
}
