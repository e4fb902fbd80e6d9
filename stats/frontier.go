package stats

import (
	"cmp"
	"slices"
)

// A Point is the cost of an entry (less is better) and its value (more is better). Cost is
// nil if it is not known.
type Point struct {
	Cost  *float64
	Value float64
}

// Frontier says which points are on the Pareto frontier: no other point is at least as
// good in both and better in one. Equal points are on it together. Points without cost
// have no place, and get nil. Golden: pareto.json.
func Frontier(points []Point) []*bool {
	on := make([]*bool, len(points))
	var order []int
	for i, p := range points {
		if p.Cost != nil {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(cmp.Compare(*points[a].Cost, *points[b].Cost), cmp.Compare(points[b].Value, points[a].Value))
	})
	best := -1 // the last point that was found on the frontier
	for _, i := range order {
		is := best < 0 || points[i].Value > points[best].Value ||
			points[i].Value == points[best].Value && *points[i].Cost == *points[best].Cost
		on[i] = &is
		if is {
			best = i
		}
	}
	return on
}
