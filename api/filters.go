package api

import (
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/benchledger/benchledger/db"
)

// RunFilters select runs, for lists and statistics. A run matches if it matches every filter that is set, with any of
// the filter's values. What a filter means is in the SQL function run_matches, which knows it by the name of its query
// parameter.
type RunFilters struct {
	Scenario       []Name          `query:"scenario,explode" doc:"Only runs of this scenario. As all filters of this kind, it can be repeated: runs with any of its values are meant." example:"nx-pnpm-monorepo"`
	Tier           []Name          `query:"tier,explode" doc:"Only runs of this tier; repeatable." example:"L1"`
	Agent          []Name          `query:"agent,explode" doc:"Only runs of this agent; repeatable." example:"claude-code"`
	Model          []Name          `query:"model,explode" doc:"Only runs of this model; repeatable." example:"claude-sonnet-4"`
	Status         []Status        `query:"status,explode" doc:"Only runs with this status; repeatable."`
	BatchID        []ID            `query:"batchId,explode" doc:"Only runs of this batch; repeatable." example:"batch-a"`
	IsSuccessful   optionalBool    `query:"isSuccessful" doc:"Only runs with this isSuccessful."`
	SpecialistName []Name          `query:"specialistName,explode" doc:"Only runs with this specialist; repeatable."`
	Evaluator      []Name          `query:"evaluator,explode" doc:"Only runs that this evaluator evaluated; repeatable." example:"install_success"`
	Since          Moment          `query:"since" doc:"Only runs that started at this time or later."`
	Until          Moment          `query:"until" doc:"Only runs that started before this time."`
	Metadata       metadataFilters `json:"-"`
}

// ListFilters select runs for lists.
type ListFilters struct {
	Suite []Name `query:"suite,explode" doc:"Only runs of this suite; repeatable." example:"update-deps"`
	RunFilters
	Voided bool `query:"voided" doc:"true: return voided runs, too."`
}

func (f ListFilters) values() db.Filters { return filterValues(f) }

// SuiteFilters select the runs of a suite for statistics.
type SuiteFilters struct {
	Suite Name `query:"suite" required:"true" doc:"The suite." example:"update-deps"`
	RunFilters
}

func (f SuiteFilters) values() db.Filters { return filterValues(f) }

// filterValues returns the filters that are set, by name.
func filterValues(filters any) db.Filters {
	values := db.Filters{}
	for field, value := range reflect.ValueOf(filters).Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("query"), ",")
		switch value := value.Interface().(type) {
		case RunFilters:
			maps.Copy(values, filterValues(value))
		case metadataFilters:
			maps.Copy(values, value.filters)
		case optionalBool:
			if value.IsSet {
				values[name] = []string{strconv.FormatBool(value.Value)}
			}
		case bool:
			if value {
				values[name] = []string{"true"}
			}
		case fmt.Stringer, Name, ID:
			if text := fmt.Sprint(value); !reflect.ValueOf(value).IsZero() {
				values[name] = []string{text}
			}
		default: // a list of texts
			list := reflect.ValueOf(value)
			for i := range list.Len() {
				values[name] = append(values[name], list.Index(i).String())
			}
		}
	}
	return values
}

// optionalBool is a boolean parameter that may not be set.
type optionalBool struct{ Value, IsSet bool }

// Schema documents an optionalBool.
func (optionalBool) Schema(huma.Registry) *huma.Schema { return &huma.Schema{Type: huma.TypeBoolean} }

// Receiver is where huma puts the value.
func (b *optionalBool) Receiver() reflect.Value { return reflect.ValueOf(b).Elem().Field(0) }

// OnParamSet notes whether the parameter was sent.
func (b *optionalBool) OnParamSet(isSet bool, _ any) { b.IsSet = isSet }

// metadataFilters are the parameters metadata.KEY=VALUE, which select runs by a member of their metadata. The document
// has them as an object with the style deepObject, which clients send as metadata[KEY]=VALUE.
type metadataFilters struct{ filters db.Filters }

// metadataParameter documents them.
func metadataParameter() *huma.Param {
	return &huma.Param{
		Name: "metadata", In: "query", Style: "deepObject", Explode: new(true),
		Description: "`metadata.KEY=VALUE`, or `metadata[KEY]=VALUE`: only runs whose metadata have the member KEY with this value. " +
			"`abc` is a text; `3`, `true` and `null` are the text or the JSON value. Repeatable; with several keys, each has to match.",
		Schema: &huma.Schema{Type: huma.TypeObject, AdditionalProperties: &huma.Schema{Type: huma.TypeString}},
	}
}

// Resolve reads the parameters.
func (f *metadataFilters) Resolve(ctx huma.Context, _ *huma.PathBuffer) []error {
	f.filters = db.Filters{}
	address := ctx.URL()
	for name, values := range address.Query() {
		if key, ok := metadataKey(name); ok {
			f.filters[db.MetadataPrefix+key] = append(f.filters[db.MetadataPrefix+key], values...)
		}
	}
	return nil
}

// metadataKey returns the member of the metadata that a parameter is about.
func metadataKey(parameter string) (key string, ok bool) {
	if key, ok = strings.CutPrefix(parameter, db.MetadataPrefix); ok {
		return key, true
	}
	key, begins := strings.CutPrefix(parameter, "metadata[")
	key, ends := strings.CutSuffix(key, "]")
	return key, begins && ends
}

// Moment is a time in a query: RFC 3339, of the years 0001 to 9999.
type Moment string

// Schema documents a Moment.
func (Moment) Schema(huma.Registry) *huma.Schema {
	// An extension, so that huma does not check the format: Resolve does.
	return &huma.Schema{
		Type: huma.TypeString, Description: "RFC 3339, with any offset", Examples: []any{"2025-11-17T10:00:00Z"},
		Extensions: map[string]any{"format": "date-time"},
	}
}

// Resolve rejects what is no time.
func (m *Moment) Resolve(_ huma.Context, path *huma.PathBuffer) []error {
	if _, ok := m.time(); !ok && *m != "" {
		return fieldError(path, "expected RFC 3339 time, in the years 0001 to 9999")
	}
	return nil
}

func (m Moment) time() (moment time.Time, ok bool) {
	moment, ok = parseRFC3339(strings.ToUpper(string(m)))
	moment = moment.UTC().Truncate(time.Microsecond)
	return moment, ok && moment.Year() >= 1 && moment.Year() <= 9999
}

// String returns the time in UTC: PostgreSQL knows no offsets above 16 hours.
func (m Moment) String() string {
	moment, _ := m.time()
	return moment.Format(time.RFC3339Nano)
}
