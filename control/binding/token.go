package binding

import (
	"context"
	"path"
	"time"

	"github.com/hearth-run/hearth/api"
	"github.com/hearth-run/hearth/core/engine"
	"github.com/hearth-run/hearth/core/identity"
)

// tokens is the Renew of a volume with tokens of the revision's service account.
// They have no roles of their own: what the account may do is found out when one
// is used. After four fifths of its time each is replaced by another.
func (in reader) tokens(list []*api.ServiceAccountToken, mode *int) func(context.Context) ([]engine.VolumeFile, time.Time, error) {
	account := in.facts.account()
	return func(ctx context.Context) (files []engine.VolumeFile, again time.Time, err error) {
		if in.b.o.Tokens == nil {
			return nil, again, api.Errorf(api.CodeUnsupported, "there are no tokens of service accounts here")
		}
		if err := in.accountThere(ctx, account); err != nil {
			return nil, again, err
		}
		for _, t := range list {
			ttl := api.DefaultTokenSeconds * time.Second
			if t.ExpirationSeconds != nil {
				ttl = time.Duration(max(*t.ExpirationSeconds, api.MinTokenSeconds)) * time.Second
			}
			now := time.Now()
			c := identity.Caller{Name: identity.AccountCaller(in.ns, account), Namespaces: []string{in.ns}, Audience: t.Audience}
			text, err := in.b.o.Tokens.Issue(ctx, c, ttl)
			if err != nil {
				return nil, again, err
			}
			files = append(files, engine.VolumeFile{Path: path.Clean(t.Path), Data: []byte(text), Mode: permissions(nil, mode)})
			if next := now.Add(ttl / 5 * 4); again.IsZero() || next.Before(again) {
				again = next
			}
		}
		return files, again, nil
	}
}

// accountThere fails where an account was named that is not there. Every
// namespace has the account default.
func (in reader) accountThere(ctx context.Context, name string) error {
	if name == "default" {
		return nil
	}
	sa, err := get[serviceAccount](ctx, in, "serviceaccounts", name)
	if err == nil && sa == nil {
		return api.Errorf(api.CodeStartFailed, "ServiceAccount %q is not there", name).WithHint("kubectl create serviceaccount %s -n %s", name, in.ns)
	}
	return err
}
