package stats

// An Outcome counts the attempts at an item, and those that succeeded.
type Outcome struct {
	Scenario            string
	Attempts, Successes int64
}

// A PassEstimate has the probabilities, between 0 and 1, that any and that all of K attempts
// at a scenario succeed. They are nil if no item has K attempts, and their bounds with fewer
// than two such scenarios.
type PassEstimate struct {
	K int64
	// Items have at least K attempts; Left have fewer.
	Items, Left           int
	PassAtK, PassHatK     *float64
	AtKBounds, HatKBounds Interval
}

// Pass estimates pass@k and pass^k: the plain mean of PassAtK and PassHatK over the items
// with at least k attempts, with Student's t interval over scenarios, within 0 and 1. k is
// at least 1. Golden: pass_k.json.
func Pass(outcomes []Outcome, k int64, level float64) PassEstimate {
	var at, hat []Value
	for _, o := range outcomes {
		if o.Attempts >= k {
			at = append(at, Value{o.Scenario, passAtK(o.Attempts, o.Successes, k)})
			hat = append(hat, Value{o.Scenario, passHatK(o.Attempts, o.Successes, k)})
		}
	}
	atK, hatK := Mean(at, level), Mean(hat, level)
	return PassEstimate{
		K: k, Items: len(at), Left: len(outcomes) - len(at),
		PassAtK: atK.Mean, PassHatK: hatK.Mean,
		AtKBounds: within01(atK.Interval), HatKBounds: within01(hatK.Interval),
	}
}

func within01(i Interval) Interval {
	if i.Low == nil {
		return i
	}
	return clamped(*i.Low, *i.High, 0, 1)
}

// passAtK is the unbiased estimate that at least one of k attempts succeeds, from c of n:
// 1 - C(n-c,k)/C(n,k) (Chen et al. 2021, arXiv 2107.03374).
func passAtK(n, c, k int64) float64 {
	return 1 - passHatK(n, n-c, k)
}

// passHatK is the unbiased estimate that all of k attempts succeed, from c of n:
// C(c,k)/C(n,k) (Yao et al. 2024, tau-bench, arXiv 2406.12045), as a product of factors
// between 0 and 1, which cannot overflow.
func passHatK(n, c, k int64) float64 {
	if c < k {
		return 0
	}
	// C(c,k)/C(n,k) = C(n-k,n-c)/C(n,n-c): the shorter product.
	k, c = min(k, n-c), min(c, n-k)
	product := 1.0
	for i := range k {
		product *= float64(c-i) / float64(n-i)
	}
	return product
}
