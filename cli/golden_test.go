package cli_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/cli"
)

// run executes a command line in this process.
func run(t *testing.T, in string, vars map[string]string, args ...string) (code int, out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	if vars == nil {
		vars = map[string]string{"HOME": t.TempDir()}
	}
	code = cli.Run(t.Context(), args, cli.Streams{In: strings.NewReader(in), Out: &o, Err: &e}, cli.Env{Vars: vars, Version: "0.0.0-test"})
	return code, o.String(), e.String()
}

// verbs are the commands of the first release.
var verbs = []string{
	"apply", "completion", "context", "context add", "context ls", "context rm", "context use", "delete", "deploy", "describe", "diff", "doctor",
	"env", "get", "help", "image", "image build", "image load", "image ls", "image rm", "invoke", "logs", "new", "reset", "rollback", "status", "up", "version",
}

// TestHelp holds verbs and flags to golden files: they are a promise.
func TestHelp(t *testing.T) {
	check := func(name string, args ...string) {
		t.Run(name, func(t *testing.T) {
			code, out, errs := run(t, "", nil, args...)
			if code != 0 || errs != "" {
				t.Fatalf("exit %d, %s", code, errs)
			}
			golden(t, filepath.Join("testdata", "golden", "help", strings.ReplaceAll(name, " ", "-")+".txt"), out)
		})
	}
	check("hearth")
	for _, v := range verbs {
		check(v, append(strings.Fields(v), "--help")...)
	}
	files, err := filepath.Glob("testdata/golden/help/*.txt")
	if err != nil || len(files) != len(verbs)+1 {
		t.Errorf("%d golden files for %d verbs: one is stale or missing", len(files), len(verbs))
	}
	_, out, _ := run(t, "", nil)
	listed := 0
	for line := range strings.Lines(out) {
		if f := strings.Fields(line); strings.HasPrefix(line, "  ") && len(f) > 2 && f[0] != "hearth" && !strings.HasPrefix(f[0], "-") {
			listed++
			if !strings.Contains(" "+strings.Join(verbs, " ")+" ", " "+f[0]+" ") {
				t.Errorf("verb %s has no golden file", f[0])
			}
		}
	}
	if listed < 15 {
		t.Errorf("only %d verbs found in the help", listed)
	}
}

func golden(t *testing.T, file, got string) {
	t.Helper()
	if *update {
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(string(want), got); d != "" {
		t.Errorf("%s (-update rewrites it):\n%s", file, d)
	}
}

// TestTopics holds that every topic has a title and is told from commands.
func TestTopics(t *testing.T) {
	for _, topic := range []string{"contexts", "environment", "errors", "exit-codes", "functions", "images", "manifests", "output", "traffic"} {
		code, out, errs := run(t, "", nil, "help", topic)
		if code != 0 || errs != "" || !strings.Contains(out, "\n\n") {
			t.Errorf("help %s: exit %d, %q", topic, code, out)
		}
		for i, line := range strings.Split(out, "\n") {
			if len([]rune(line)) > 80 {
				t.Errorf("help %s, line %d is %d wide", topic, i+1, len([]rune(line)))
			}
		}
	}
}

// TestUsageErrors holds the texts and exit codes of wrong usage.
func TestUsageErrors(t *testing.T) {
	dir := t.TempDir()
	t.Chdir(dir)
	if err := os.WriteFile("f.yaml", []byte("apiVersion: hearth.run/v1\nkind: Functoin\nmetadata: {name: a}\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("empty.js", nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile("notes.txt", []byte("hello"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		args  string
		code  int
		error string
		hint  string
	}{
		{"deplyo x", 2, `"deplyo" is not a command of hearth`, "did you mean deploy?   hearth deploy"},
		{"frobnicate", 2, `"frobnicate" is not a command of hearth`, "hearth help shows the commands"},
		{"context sue x", 2, `"sue" is not a command of hearth context`, "did you mean use?   hearth context use"},
		{"get functoins", 2, `there is no kind "functoins"`, "did you mean functions?"},
		{"get secret/a/b", 5, "no hearth runs in this folder", "hearth up starts one; hearth context ls shows others"},
		{"get --selectr a=b", 2, "hearth get: unknown flag: --selectr", "did you mean --selector?"},
		{"get -o jason", 2, `there is no output "jason"`, "did you mean -o json?"},
		{"get --jq .[", 2, "--jq is not a jq expression", "such as --jq .metadata.name"},
		{"get -o yaml --jq .", 2, "--jq makes JSON; it does not go with -o yaml", "leave -o out"},
		{"invoke", 2, "hearth invoke needs the name of a function", "usage: hearth invoke NAME[@SAMPLE] [flags]"},
		{"invoke a b", 2, `hearth invoke takes the name of a function; "b" is too much`, "usage:"},
		{"invoke a -H nocolon", 2, `"nocolon" is not a header`, "such as -H"},
		{"invoke a -d @missing.json", 3, "cannot read the body for a", "-d TEXT sends text"},
		{"invoke a@nope", 3, "there is no sample nope.json here or in a", "a sample is"},
		{"image lod", 2, `"lod" is not a command of hearth image`, "did you mean load?   hearth image load"},
		{"image load", 2, "hearth image load needs the name of an archive", "usage:"},
		{"image load gone.tar", 3, "cannot load gone.tar: there is no such file", "docker save"},
		{"image load notes.txt", 1, "cannot load notes.txt: ", "docker save"},
		{"image build empty.js", 2, "hearth image build needs a name", "such as -t empty"},
		{"image build gone -t x", 3, "cannot build gone: there is no such file or folder", "ls shows"},
		{"image build empty.js -t x", 1, "cannot build empty.js: it is no Linux binary", "CGO_ENABLED=0"},
		{"image build . -t x", 2, "a folder needs --entrypoint", "such as --entrypoint"},
		{"image build . -t x --entrypoint /a -e A", 2, `--env: "A" is not NAME=VALUE`, "such as"},
		{"image rm", 2, "hearth image rm needs the name of an image", "usage:"},
		{"image ls", 5, "no hearth runs in this folder", "hearth up starts one"},
		{"apply", 2, "hearth apply needs manifests", "hearth apply -f FILE"},
		{"apply -f f.yaml", 1, `f.yaml:2:1: kind: "Functoin" is not a kind Hearth knows`, "did you mean Function?"},
		{"diff -f f.yaml", 2, `f.yaml:2:1: kind: "Functoin" is not a kind Hearth knows`, "did you mean Function?"},
		{"diff -f gone.yaml", 3, "cannot read gone.yaml: there is no such file", "ls shows"},
		{"delete", 2, "hearth delete needs something to delete", "hearth delete function/NAME"},
		{"deploy gone.js", 3, "cannot deploy gone.js: there is no such file or folder", "hearth new NAME"},
		{"deploy empty.js", 1, "cannot deploy empty.js: it is empty", "hearth new NAME"},
		{"deploy notes.txt", 1, "cannot deploy notes.txt: no known language in notes.txt", "--runtime says it instead"},
		{"logs --since yesterday a", 2, `--since: "yesterday" is neither a duration nor a time`, "such as --since 10m"},
		{"new Hello", 2, `"Hello" is not a DNS label`, "hearth new hello"},
		{"new hello --lang jss", 2, `there is no template for "jss"`, "did you mean --lang js?"},
		{"reset", 3, "there is no state in .hearth", "--state names another folder"},
		{"status --context lab", 3, `there is no context "lab"`, "hearth context ls shows them"},
		{"status --context locl", 3, `there is no context "locl"`, "did you mean local?"},
		{"env", 5, "no hearth runs in this folder", "hearth up starts one"},
		{"completion tcsh", 2, `there is no completion for "tcsh"`, "one of bash, zsh, fish, powershell"},
		{"up --tls-cert a", 2, "--tls-cert and --tls-key belong together", "give both, or none"},
		{"up --tls-port -7", 2, "--tls-port: -7 is not a port", "1 to 65535"},
		{"up --acme yes --tls-port 0", 2, `--acme: "yes" is neither on nor the URL of a directory`, "--acme on"},
		{"up --acme on", 2, "--acme gets certificates, and nothing serves them", "--tls-port 443"},
		{"rollback", 2, "hearth rollback needs the name of a function", "usage: hearth rollback NAME [flags]"},
		{"up --gateway-port 70000", 2, "--gateway-port: 70000 is not a port", "1 to 65535"},
		{"up gone.js", 3, "cannot deploy gone.js: there is no such file or folder", "hearth up alone"},
		{"get functions -n Bad_Name --context -", 5, "no hearth runs", "hearth up starts one"},
		{"help frob", 2, `there is no command or topic "frob"`, "hearth help lists them"},
	} {
		t.Run(c.args, func(t *testing.T) {
			code, out, errs := run(t, "", nil, strings.Fields(c.args)...)
			if code != c.code || out != "" {
				t.Errorf("exit %d, want %d; output %q", code, c.code, out)
			}
			lines := strings.Split(strings.TrimSpace(errs), "\n")
			if strings.Contains(c.args, "--jq") { // implies JSON, for errors too
				if !strings.Contains(errs, c.error) || !strings.Contains(errs, `"hint":"`+c.hint) {
					t.Errorf("got %s", errs)
				}
				return
			}
			if !strings.HasPrefix(lines[0], "error: "+c.error) {
				t.Errorf("got  %s\nwant error: %s", lines[0], c.error)
			}
			hint := strings.TrimSpace(lines[len(lines)-1])
			if !strings.HasPrefix(hint, "hint: ") || !strings.Contains(hint, c.hint) {
				t.Errorf("got  %s\nwant hint: %s", hint, c.hint)
			}

			code, out, errs = run(t, "", nil, append([]string{"-o", "json"}, strings.Fields(c.args)...)...)
			if c.code == code && (out != "" || !strings.HasPrefix(errs, `{"error":{"code":"`) || strings.Count(errs, "\n") != 1) && !strings.Contains(c.args, "-o ") {
				t.Errorf("with -o json: %q on stdout, %q on stderr", out, errs)
			}
		})
	}
}

// TestCodes holds that every code has an exit code of the contract and a hint.
func TestCodes(t *testing.T) {
	for _, r := range api.Codes() {
		switch r.Exit {
		case 1, 2, 3, 4, 5, 130:
		default:
			t.Errorf("%s: exit code %d is not in the contract", r.Code, r.Exit)
		}
		if r.Hint == "" {
			t.Errorf("%s has no hint", r.Code)
		}
	}
}

func TestInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var o, e bytes.Buffer
	vars := map[string]string{"HOME": t.TempDir(), "HEARTH_URL": "http://127.0.0.1:1"}
	code := cli.Run(ctx, []string{"get"}, cli.Streams{Out: &o, Err: &e}, cli.Env{Vars: vars})
	if code != 130 || !strings.HasPrefix(e.String(), "error: interrupted") {
		t.Errorf("exit %d, %s", code, e.String())
	}
}

func TestUnreachable(t *testing.T) {
	vars := map[string]string{"HOME": t.TempDir(), "HEARTH_URL": "http://127.0.0.1:1"}
	code, _, errs := run(t, "", vars, "get")
	if code != 5 || !strings.HasPrefix(errs, "error: cannot reach hearth at http://127.0.0.1:1: nothing listens there\n  hint: ") {
		t.Errorf("exit %d, %s", code, errs)
	}
}
