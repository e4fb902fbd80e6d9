package stats

import (
	"cmp"
	"slices"
)

// Holm adjusts p-values so that rejecting those below alpha makes any false rejection at
// all no more likely than alpha (Holm 1979, Scand J Stat 6:65). The answer has the order of
// the input. Golden: multiplicity.json.
func Holm(pValues []float64) []float64 {
	adjusted := make([]float64, len(pValues))
	largest := 0.0
	for rank, i := range ascending(pValues) {
		largest = max(largest, min(1, float64(len(pValues)-rank)*pValues[i]))
		adjusted[i] = largest
	}
	return adjusted
}

// BenjaminiHochberg is the q-value of each p-value: among rows with q below 0.05 at most
// 5 % are false discoveries, on average (Benjamini and Hochberg 1995, JRSS B 57:289). Leave
// out rows without a p-value. The answer has the order of the input. Golden:
// multiplicity.json.
func BenjaminiHochberg(pValues []float64) []float64 {
	adjusted := make([]float64, len(pValues))
	smallest := 1.0
	for rank, i := range slices.Backward(ascending(pValues)) {
		smallest = min(smallest, float64(len(pValues))/float64(rank+1)*pValues[i])
		adjusted[i] = smallest
	}
	return adjusted
}

// ascending is the order of the indexes that sorts the values.
func ascending(values []float64) []int {
	order := indexes(len(values))
	slices.SortFunc(order, func(a, b int) int { return cmp.Compare(values[a], values[b]) })
	return order
}

// indexes is 0 to n-1.
func indexes(n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = i
	}
	return all
}
