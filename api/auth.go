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
	key, problem := s.identify(ctx.Context(), header, needed)
	if problem != nil && public { // If no key is needed, an invalid one is ignored.
		next(ctx)
		return
	}
	if problem != nil {
		s.refuse(ctx, problem)
		return
	}
	info := requestInfoFrom(ctx.Context())
	info.key, info.isAdmin = key.name, key.isAdmin
	next(ctx)
}

// identity is what a valid key says about who sent a request.
type identity struct {
	name    string
	isAdmin bool
}

// identify returns whose key the header has, if it allows what is needed.
func (s *server) identify(ctx context.Context, header string, needed keys.Scope) (identity, *Problem) {
	scheme, key, _ := strings.Cut(header, " ")
	key = strings.TrimSpace(key)
	if !strings.EqualFold(scheme, "Bearer") || key == "" {
		problem := problemOf(http.StatusUnauthorized, "An API key is required: send the header Authorization: Bearer KEY.")
		problem.headers = challenge("")
		return identity{}, problem
	}
	if s.APISecretKey != "" && keys.Same(key, s.APISecretKey) {
		return identity{keys.SharedKey, true}, nil
	}
	if !keys.HasForm(key) { // The database cannot have it.
		return identity{}, invalidKey("Invalid API key.")
	}
	found, ok, err := s.keys.Find(ctx, key)
	switch {
	case err != nil:
		return identity{}, s.problem(ctx, err)
	case !ok:
		return identity{}, invalidKey("Invalid API key.")
	case found.State != "valid":
		return identity{}, invalidKey("This API key has " + map[string]string{"revoked": "been revoked", "expired": "expired"}[found.State] + ".")
	case !keys.Scope(found.Scope).Allows(needed):
		problem := problemOf(http.StatusForbidden, fmt.Sprintf("This API key has the scope %s; the operation needs %s.", found.Scope, needed))
		problem.headers = challenge(fmt.Sprintf(`, error="insufficient_scope", scope="%s"`, needed))
		return identity{}, problem
	}
	s.keys.RecordUse(ctx, found)
	return identity{found.Name, keys.Scope(found.Scope).Allows(keys.ScopeAdmin)}, nil
}

// invalidKey is the response to a key that is not valid. RFC 6750 has 401 for it; clients of
// the worker that BenchLedger replaces expect 403, and the header says what is meant.
func invalidKey(why string) *Problem {
	problem := problemOf(http.StatusForbidden, why)
	problem.headers = challenge(`, error="invalid_token"`)
	return problem
}

// challenge is the header WWW-Authenticate (RFC 6750).
func challenge(parameters string) http.Header {
	return http.Header{"Www-Authenticate": {`Bearer realm="benchledger"` + parameters}}
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
