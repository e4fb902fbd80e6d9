package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"github.com/danielgtaylor/huma/v2"
)

var (
	// needsKey is the security of an operation that writes.
	needsKey = []map[string][]string{{"bearer": {}}}
	// open is the security of an operation that anyone may use.
	open = []map[string][]string{{}}
)

// requireKey lets only those with a key write. It decides before the body is read.
func (s *server) requireKey(ctx huma.Context, next func(huma.Context)) {
	noteOperation(ctx.Context(), ctx.Operation().OperationID)
	for _, alternative := range ctx.Operation().Security {
		if len(alternative) == 0 {
			next(ctx)
			return
		}
	}
	scheme, key, _ := strings.Cut(ctx.Header("Authorization"), " ")
	key = strings.TrimSpace(key)
	switch {
	case !strings.EqualFold(scheme, "Bearer") || key == "":
		ctx.SetHeader("WWW-Authenticate", `Bearer realm="benchledger"`)
		_ = huma.WriteErr(s.api, ctx, http.StatusUnauthorized, "A key is needed: Authorization: Bearer KEY.")
	case !sameKey(key, s.APISecretKey):
		_ = huma.WriteErr(s.api, ctx, http.StatusForbidden, "The key does not hold.")
	default:
		next(ctx)
	}
}

// sameKey takes the same time wherever the keys differ.
func sameKey(given, right string) bool {
	givenHash, rightHash := sha256.Sum256([]byte(given)), sha256.Sum256([]byte(right))
	return subtle.ConstantTimeCompare(givenHash[:], rightHash[:]) == 1 && right != ""
}
