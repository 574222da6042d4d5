package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/record"
)

type logsFlags struct {
	follow                               bool
	since, request, revision, instanceID string
	limit                                int
}

func (a *app) logsCommand() *cobra.Command {
	var f logsFlags
	cmd := &cobra.Command{
		Use:   "logs [NAME]",
		Short: "Show what functions wrote",
		Example: `  hearth logs hello -f                follow
  hearth logs hello --since 10m
  hearth logs --request 7f3k          everything one request wrote
  hearth logs hello -o json --jq .text`,
		Args:              args(0, 1, "the name of a function"),
		ValidArgsFunction: a.completeFunctions,
		RunE:              func(cmd *cobra.Command, args []string) error { return a.runLogs(cmd.Context(), args, f) },
	}
	cmd.Flags().BoolVarP(&f.follow, "follow", "f", false, "go on with new lines as they are written")
	cmd.Flags().StringVar(&f.since, "since", "", "only lines since then: 10m, or 2026-01-02T15:04:05Z")
	cmd.Flags().StringVar(&f.request, "request", "", "only lines of the request with this `id`")
	cmd.Flags().StringVar(&f.revision, "revision", "", "only lines of this `revision`, such as hello@2 or 2")
	cmd.Flags().StringVar(&f.instanceID, "instance", "", "only lines of this `instance`")
	cmd.Flags().IntVar(&f.limit, "limit", 1000, "newest lines shown at most")
	return cmd
}

// since reads a moment: a time, or a duration before now.
func since(text string, now time.Time) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		return now.Add(-d), nil
	}
	if t, err := time.Parse(time.RFC3339, text); err == nil {
		return t, nil
	}
	return time.Time{}, usage("--since: %q is neither a duration nor a time", text).WithHint("such as --since 10m or --since 2026-01-02T15:04:05Z")
}

func (a *app) runLogs(ctx context.Context, args []string, f logsFlags) error {
	from, err := since(f.since, time.Now())
	if err != nil {
		return err
	}
	q := record.Query{Request: f.request, Instance: f.instanceID, Since: from, Limit: f.limit, Follow: f.follow}
	c, t, err := a.connect()
	if err != nil {
		return err
	}
	if len(args) > 0 {
		q.Function = strings.TrimPrefix(args[0], "function/")
		if fn, n, ok := strings.Cut(q.Function, "@"); ok {
			q.Function, f.revision = fn, n
		}
	}
	if f.revision != "" {
		q.Revision = objectName(f.revision)
		if strings.Trim(f.revision, "0123456789") == "" {
			if q.Function == "" {
				return usage("--revision %s needs the name of the function", f.revision).WithHint("such as --revision hello@%s", f.revision)
			}
			q.Revision = q.Function + "-" + f.revision
		}
	}
	any := false
	for l, err := range c.Logs(ctx, q) {
		if err != nil {
			return err
		}
		any = true
		if err := a.showLine(l); err != nil {
			return err
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if !any && q.Function != "" {
		// Nothing written, or no such function: the second is an error.
		if _, ok := a.service(ctx, c, q.Function); !ok {
			if _, err := a.get(ctx, c, t, mustKind("function"), q.Function); err != nil {
				return err
			}
		}
		a.say("%s wrote nothing%s", q.Function, map[bool]string{true: " since then"}[f.since != ""])
	}
	return nil
}

// showLine prints a line of a log: 12:04:11.123 hello@2 7f3k │ text.
func (a *app) showLine(l engine.Line) error {
	if a.machine() {
		data, err := marshal(l)
		if err != nil {
			return err
		}
		if a.jq == "" && a.output == "json" { // one line each: a stream
			return a.data(string(data) + "\n")
		}
		if a.output == "yaml" {
			fprintf(a.Out, "---\n")
		}
		return a.show(data)
	}
	p := a.tablePaint()
	bar := p.dim("│")
	if l.Stream == "stderr" {
		bar = p.warn("┃")
	}
	id := l.Request
	if id != "" {
		id = " " + id
	}
	if a.output == "wide" {
		id += " " + l.Instance
	}
	return a.data(p.dim(l.Time.Local().Format("15:04:05.000")) + " " + p.any(l.Instance, revisionText(l.Revision)) + p.dim(id) + " " + bar + " " + l.Text + "\n")
}
