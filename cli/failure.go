package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/hearth-run/hearth/api"
)

// exit ends a command with a code after everything was said.
type exit int

func (e exit) Error() string { return fmt.Sprintf("exit code %d", int(e)) }

// fail prints err as users see it and returns the exit code.
func (a *app) fail(ctx context.Context, err error, args []string) int {
	var code exit
	if errors.As(err, &code) {
		return int(code)
	}
	e := asError(ctx, err)
	if a.wantsJSON(args) {
		writeErrorJSON(a.Err, e)
	} else {
		a.writeError(a.Err, e)
	}
	out := e.Code.Row().Exit
	var not couldNot
	if errors.As(err, &not) {
		out = max(out, 2)
	}
	return out
}

// asError turns any error into one with a code. Unlike api.AsError it shows the
// words of errors that have none: they are the user's own machine's.
func asError(ctx context.Context, err error) *api.Error {
	var e *api.Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.Canceled), ctx.Err() != nil && errors.Is(err, ctx.Err()):
		return &api.Error{Code: api.CodeCanceled, Message: "interrupted", Hint: "what was sent before is kept; hearth get shows it"}
	case errors.Is(err, context.DeadlineExceeded):
		return &api.Error{Code: api.CodeTimeout, Message: "it took too long", Hint: "hearth status shows whether the server is well"}
	}
	return &api.Error{Code: api.CodeInternal, Message: err.Error(), Cause: err}
}

// writeError prints e for people.
func (a *app) writeError(w io.Writer, e *api.Error) {
	fprintf(w, "%s %s\n", a.paint.bad("error:"), indent(e.Message, "       "))
	if d := strings.TrimRight(e.Detail, "\n"); d != "" {
		fprintf(w, "\n    %s\n\n", indent(d, "    "))
	} else if len(e.Fields) > 1 {
		for _, f := range e.Fields {
			fprintf(w, "    %s\n", f)
		}
	}
	fprintf(w, "  %s %s\n", a.paint.dim("hint:"), e.Help())
}

// indent puts prefix before every line but the first.
func indent(s, prefix string) string { return strings.ReplaceAll(s, "\n", "\n"+prefix) }

// writeErrorJSON prints e for programs.
func writeErrorJSON(w io.Writer, e *api.Error) {
	type body struct {
		Code    api.Code `json:"code"`
		Message string   `json:"message"`
		Cause   string   `json:"cause,omitempty"`
		Detail  string   `json:"detail,omitempty"`
		Hint    string   `json:"hint"`
		Docs    string   `json:"docs"`
	}
	b := body{Code: e.Code, Message: e.Message, Detail: e.Detail, Hint: e.Help(), Docs: "hearth help errors"}
	if e.Cause != nil && !strings.Contains(e.Message, e.Cause.Error()) {
		b.Cause = e.Cause.Error()
	}
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(map[string]body{"error": b}) // a stream that is gone cannot be told
}

var outputFlag = regexp.MustCompile(`^(-o|--output)=?json$`)

// wantsJSON finds out whether errors are for a program, also when the flags
// could not be read to the end.
func (a *app) wantsJSON(args []string) bool {
	if a.output == "json" || a.jq != "" {
		return true
	}
	for i, arg := range args {
		if arg == "--" {
			return false
		}
		if outputFlag.MatchString(arg) || (arg == "-o" || arg == "--output") && i+1 < len(args) && args[i+1] == "json" {
			return true
		}
	}
	return false
}

func usage(format string, args ...any) *api.Error { return api.Errorf(api.CodeUsage, format, args...) }

func unknownVerb(cmd *cobra.Command, word string) error {
	e := usage("%q is not a command of %s", word, cmd.CommandPath()).WithHint("%s shows the commands", strings.TrimSpace("hearth help "+strings.TrimPrefix(cmd.CommandPath(), "hearth")))
	var names []string
	for _, c := range cmd.Commands() {
		if c.IsAvailableCommand() || c.Name() == "help" {
			names = append(names, c.Name())
			names = append(names, c.Aliases...)
		}
	}
	if n := api.Nearest(word, names); n != "" {
		e = e.WithHint("did you mean %s?   %s %s", n, cmd.CommandPath(), n)
	}
	return e
}

var flagName = regexp.MustCompile(`--([A-Za-z0-9-]+)`)

// flagError makes a usage error of what the flag parser says, with the flag that
// was probably meant.
func flagError(cmd *cobra.Command, err error) error {
	if errors.Is(err, pflag.ErrHelp) {
		return err
	}
	e := usage("%s: %v", cmd.CommandPath(), err).WithHint("%s --help shows the flags", cmd.CommandPath())
	if m := flagName.FindStringSubmatch(err.Error()); m != nil && strings.HasPrefix(err.Error(), "unknown flag") {
		var names []string
		add := func(f *pflag.Flag) {
			if !f.Hidden {
				names = append(names, f.Name)
			}
		}
		cmd.Flags().VisitAll(add)
		cmd.InheritedFlags().VisitAll(add)
		slices.Sort(names)
		if n := api.Nearest(m[1], slices.Compact(names)); n != "" {
			e = e.WithHint("did you mean --%s?", n)
		}
	}
	return e
}

// args checks the number of arguments; what names them for people.
func args(low, high int, what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < low:
			return usage("%s needs %s", cmd.CommandPath(), what).WithHint("usage: %s", cmd.UseLine())
		case high >= 0 && len(args) > high:
			return usage("%s takes %s; %q is too much", cmd.CommandPath(), what, args[high]).WithHint("usage: %s", cmd.UseLine())
		}
		return nil
	}
}
