// Command bench measures what Hearth promises, against bare interpreters, nginx
// and the programs themselves, all of them side by side in one interleaved run,
// and prints one table with the target of every row.
//
//	go run ./bench                 everything; writes bench/RESULTS.md
//	go run ./bench -only a,c       some sections
//	go run ./bench -quick          a minute's look; its figures prove nothing
//	go run ./bench -scale          scaling policies against made-up arrivals, in virtual time
//
// It builds the hearth command, starts real `hearth up` processes in folders of
// their own and ends them again. Nothing of a measurement is simulated: calls go
// through the gateway's socket, and what is said to have no instance has none.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hearth-run/hearth/runtime"
	"github.com/hearth-run/hearth/serve/scale/simulate"
)

// bench is one run.
type bench struct {
	ctx     context.Context
	dir     string // of everything that is written
	binary  string // the hearth command
	source  string // of this module
	rounds  int
	quick   bool
	find    func(string) runtime.Interpreter
	report  report
	verbose bool
}

// section is a part of the table.
type section struct {
	name  string
	title string
	run   func(*bench) error
}

func sections() []section {
	return []section{
		{"a", "Cold start: request sent to first byte of the answer, no instance running", (*bench).cold},
		{"b", "Burst: 100 distinct functions called at once from zero, until the last has answered", (*bench).burst},
		{"c", "Warm calls (wrk, keep-alive); shares are of nginx in front of the same code", (*bench).warm},
		{"d", "Memory", (*bench).memory},
		{"e", "Routing table: one look-up", (*bench).routing},
		{"f", "Ready: exec of `hearth up` to the first answer of gateway and API", (*bench).ready},
		{"g", "gRPC and WebSocket, 64 in flight", (*bench).rpc},
		{"h", "Services made of images: request sent to first byte, no instance running", (*bench).services},
		{"s", "Scaling", (*bench).scaling},
	}
}

func main() {
	only := flag.String("only", "", "comma-separated `sections` a to h and s; all if empty")
	rounds := flag.Int("rounds", 5, "rounds of every measurement; medians are shown")
	quick := flag.Bool("quick", false, "fewer and shorter measurements")
	markdown := flag.String("markdown", "", "`file` for the table; a full run writes bench/RESULTS.md if this is empty")
	verbose := flag.Bool("v", false, "show every round")
	scale := flag.Bool("scale", false, "replay arrivals against the scaling policies instead, in virtual time")
	seed := flag.Uint64("seed", 1, "of the arrivals of -scale")
	flag.Parse()
	if *scale {
		if err := simulate.Report(os.Stdout, *seed); err != nil {
			fmt.Fprintln(os.Stderr, "bench:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *only, *rounds, *quick, *verbose, *markdown); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context, only string, rounds int, quick, verbose bool, markdown string) error {
	wanted := strings.Split(only, ",")
	runs := sections()
	if only != "" {
		runs = slices.DeleteFunc(runs, func(s section) bool { return !slices.Contains(wanted, s.name) })
		if len(runs) != len(wanted) {
			return fmt.Errorf("-only %s: sections are a, b, c, d, e, f, g, h, s", only)
		}
	} else if markdown == "" && !quick {
		markdown = filepath.Join("bench", "RESULTS.md")
	}
	if quick {
		rounds = min(rounds, 2)
	}
	source, err := output("go", "list", "-m", "-f", "{{.Dir}}")
	if err != nil {
		return fmt.Errorf("run it inside the repository: %w", err)
	}
	for _, s := range runs {
		for _, tool := range map[string][]string{"c": {"nginx", "wrk"}, "g": {"nginx", "h2load"}}[s.name] {
			if _, err := exec.LookPath(tool); err != nil {
				return fmt.Errorf("section %s needs %s: apt-get install -y nginx wrk nghttp2-client (or leave it out with -only)", s.name, tool)
			}
		}
	}
	dir, err := os.MkdirTemp("", "hearth-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // nginx's workers may have another user
		return err
	}
	b := &bench{
		ctx: ctx, dir: dir, binary: filepath.Join(dir, "hearth"), source: source, rounds: rounds, quick: quick, verbose: verbose,
		find: runtime.Once(runtime.Find),
	}
	b.note("building hearth")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.binary, "./cmd/hearth")
	build.Dir, build.Env, build.Stderr = source, append(os.Environ(), "CGO_ENABLED=0"), os.Stderr
	if err := build.Run(); err != nil {
		return fmt.Errorf("build hearth: %w", err)
	}
	b.report.machine = b.machine()
	b.report.command = "go run ./bench " + strings.Join(os.Args[1:], " ")
	begin := time.Now()
	for _, s := range runs {
		b.note("%s: %s", s.name, s.title)
		b.report.begin(s)
		if err = s.run(b); err != nil {
			err = fmt.Errorf("section %s: %w", s.name, err)
			break
		}
	}
	b.report.took = time.Since(begin)
	fmt.Print(b.report.text()) // what was measured before something failed, too
	if err == nil && markdown != "" {
		return os.WriteFile(markdown, []byte(b.report.markdown()), 0o644)
	}
	return err
}

// note says on stderr what is being done.
func (b *bench) note(format string, args ...any) {
	fmt.Fprintf(os.Stderr, "%s %s\n", time.Now().Format("15:04:05"), fmt.Sprintf(format, args...))
}

// detail is a note for those who asked for every round.
func (b *bench) detail(format string, args ...any) {
	if b.verbose {
		b.note("  "+format, args...)
	}
}

// pause waits unless the run was interrupted.
func (b *bench) pause(d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-b.ctx.Done():
		return b.ctx.Err()
	case <-t.C:
		return nil
	}
}

func output(name string, args ...string) (string, error) {
	out, err := exec.Command(name, args...).CombinedOutput()
	return strings.TrimSpace(string(out)), err
}
