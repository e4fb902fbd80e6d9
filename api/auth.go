package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humachi"

	"github.com/benchledger/benchledger/keys"
)

var (
	// submitSecurity is the security of an operation that writes.
	submitSecurity = []map[string][]string{{"bearer": {string(keys.ScopeSubmit)}}}
	// adminSecurity is for operations that change which runs count.
	adminSecurity = []map[string][]string{{"bearer": {string(keys.ScopeAdmin)}}}
	// readSecurity is for operations that read: they need a key if the server's
	// reads are private.
	readSecurity = []map[string][]string{{}, {"bearer": {string(keys.ScopeRead)}}}
	// noSecurity is for operations that never need a key.
	noSecurity = []map[string][]string{{}}
)

// neededScope reads the security of an operation from the document: the scope that a key
// needs, "" for none, and whether it is needed only if reads are private.
func neededScope(operation *huma.Operation) (scope keys.Scope, ifPrivate bool) {
	for _, alternative := range operation.Security {
		if len(alternative) == 0 {
			ifPrivate = true
		}
		for _, scopes := range alternative {
			scope = keys.Scope(scopes[0])
		}
	}
	return scope, ifPrivate
}

// requireKey refuses requests without a key of the required scope, before the body is
// read.
func (s *server) requireKey(ctx huma.Context, next func(huma.Context)) {
	needed, ifPrivate := neededScope(ctx.Operation())
	public, header := ifPrivate && !s.PrivateReads, ctx.Header("Authorization")
	if needed == "" || public && header == "" {
		next(ctx)
		return
	}
	name, problem := s.identify(ctx.Context(), header, needed)
	if problem != nil && public { // If no key is needed, an invalid one is ignored.
		next(ctx)
		return
	}
	if problem != nil {
		s.refuse(ctx, problem)
		return
	}
	requestInfoFrom(ctx.Context()).key = name
	if s.isOverLimit(ctx, s.keyLimit, name) {
		return
	}
	next(ctx)
}

// identify returns the name of the key in the header, if it allows what is
// needed.
func (s *server) identify(ctx context.Context, header string, needed keys.Scope) (string, *Problem) {
	scheme, key, _ := strings.Cut(header, " ")
	key = strings.TrimSpace(key)
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		problem := problemOf(http.StatusUnauthorized, "An API key is required: send the header Authorization: Bearer KEY.")
		problem.headers = http.Header{"Www-Authenticate": {`Bearer realm="benchledger"`}}
		return "", problem
	}
	if s.APISecretKey != "" && keys.Same(key, s.APISecretKey) {
		return keys.SharedKey, nil
	}
	if !keys.HasForm(key) { // The database cannot have it.
		return "", problemOf(http.StatusForbidden, "Invalid API key.")
	}
	found, ok, err := s.keys.Find(ctx, key)
	switch {
	case err != nil:
		return "", s.problem(ctx, err)
	case !ok:
		return "", problemOf(http.StatusForbidden, "Invalid API key.")
	case found.State != "valid":
		return "", problemOf(http.StatusForbidden, "This API key has "+map[string]string{"revoked": "been revoked", "expired": "expired"}[found.State]+".")
	case !keys.Scope(found.Scope).Allows(needed):
		return "", problemOf(http.StatusForbidden, fmt.Sprintf("This API key has the scope %s; the operation needs %s.", found.Scope, needed))
	}
	s.keys.RecordUse(ctx, found)
	return found.Name, nil
}

// keyName is the name of the key of a request, nil for the shared one.
func keyName(ctx context.Context) *string {
	if name := requestInfoFrom(ctx).key; name != keys.SharedKey && name != "" {
		return &name
	}
	return nil
}

// refuse responds to a request before its operation begins. (huma.WriteErr would pass the
// problem through newProblem, for which 500 means a body that ended early.)
func (s *server) refuse(ctx huma.Context, problem *Problem) {
	r, w := humachi.Unwrap(ctx)
	s.writeProblem(w, r, problem)
}
