package main

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
)

// barWidth is the width of bars, in characters.
const barWidth = 16

// scale is what bars in a column are drawn on.
type scale struct{ low, high float64 }

// scaleOf returns a scale with round ends for values; nil ones do not count.
func scaleOf(values ...*float64) scale {
	values = slices.DeleteFunc(slices.Clone(values), func(value *float64) bool { return value == nil })
	if len(values) == 0 {
		return scale{0, 1}
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, value := range values {
		low, high = min(low, *value), max(high, *value)
	}
	if low == high {
		low, high = min(low, 0), max(high, low+1)
	}
	step := math.Pow(10, math.Floor(math.Log10((high-low)*1.001)))
	if step >= (high-low)/2 {
		step /= 10
	}
	const nearly = 1e-9
	return scale{math.Floor(low/step+nearly) * step, math.Ceil(high/step-nearly) * step}
}

// at returns the character of a bar where a value is.
func (s scale) at(value float64) int {
	place := math.Round((value - s.low) / (s.high - s.low) * (barWidth - 1))
	return int(max(0, min(place, barWidth-1)))
}

// interval draws an interval with its value, and with marks. Nothing is drawn without the value.
func (s scale) interval(low, value, high *float64, marks ...float64) string {
	if value == nil {
		return ""
	}
	bar := slices.Repeat([]rune{'·'}, barWidth)
	for _, mark := range marks {
		bar[s.at(mark)] = '│'
	}
	if low != nil && high != nil {
		first, last := s.at(*low), s.at(*high)
		for i := first; i <= last; i++ {
			bar[i] = '─'
		}
		bar[first], bar[last] = '├', '┤'
	}
	bar[s.at(*value)] = '●'
	return string(bar)
}

// within draws a value, and the range in which it is expected.
func (s scale) within(low, value, high *float64) string {
	if value == nil {
		return ""
	}
	bar := slices.Repeat([]rune{'·'}, barWidth)
	if low != nil && high != nil {
		for i := s.at(*low); i <= s.at(*high); i++ {
			bar[i] = '░'
		}
	}
	bar[s.at(*value)] = '●'
	return string(bar)
}

// filled draws a bar from the low end of the scale.
func (s scale) filled(value *float64) string {
	if value == nil {
		return ""
	}
	full := int(math.Round((*value - s.low) / (s.high - s.low) * barWidth))
	full = max(0, min(full, barWidth))
	return strings.Repeat("█", full) + strings.Repeat("·", barWidth-full)
}

// unit formats values of a metric.
type unit struct{ isRate bool }

func unitOf(metric string) unit { return unit{metric == "success"} }

// name is what the values are called.
func (u unit) name() string {
	if u.isRate {
		return "success"
	}
	return "score"
}

// value formats a value, such as 60.0 % or 0.604.
func (u unit) value(value *float64) string {
	switch {
	case value == nil:
		return ""
	case u.isRate:
		return u.number(*value) + " %"
	}
	return u.number(*value)
}

// number is a value without the percent sign.
func (u unit) number(value float64) string {
	decimals := 3
	if u.isRate {
		value, decimals = 100*value, 1
	}
	if value == 0 {
		value = 0 // not -0
	}
	if value != 0 && math.Abs(value) < math.Pow10(-decimals)/2 {
		return strconv.FormatFloat(value, 'g', 1, 64)
	}
	return strconv.FormatFloat(value, 'f', decimals, 64)
}

// signed is a difference without its unit.
func (u unit) signed(difference float64) string {
	text := u.number(difference)
	if difference > 0 {
		text = "+" + text
	}
	return text
}

// difference formats a difference in a sentence, such as +4.2 percentage points.
func (u unit) difference(difference float64) string { return u.signed(difference) + u.points() }

// size formats a difference without a sign.
func (u unit) size(difference float64) string { return u.number(math.Abs(difference)) + u.points() }

// isImpossible reports whether a difference is larger than any.
func (u unit) isImpossible(difference float64) bool { return u.isRate && difference > 1 }

func (u unit) points() string {
	if u.isRate {
		return " percentage points"
	}
	return ""
}

// differences formats the bounds of a difference in a sentence.
func (u unit) differences(low, high float64) string {
	return u.signed(low) + " to " + u.difference(high)
}

// span formats the bounds of values, such as 40.0 to 60.0 %.
func (u unit) span(low, high *float64) string {
	if low == nil || high == nil {
		return ""
	}
	return u.number(*low) + " to " + u.value(high)
}

// percent formats a share, such as a confidence level, without decimals that are 0.
func percent(share float64) string {
	return strconv.FormatFloat(math.Round(share*1e5)/1e3, 'f', -1, 64) + " %"
}

// pValue formats the p-value of a sentence, which is not broken there.
func pValue(p float64) string {
	if p < 0.001 {
		return "p" + unbroken + "<" + unbroken + "0.001"
	}
	return "p" + unbroken + "=" + unbroken + strconv.FormatFloat(p, 'g', 2, 64)
}

// dollars formats a cost.
func dollars(cost *float64) string {
	switch {
	case cost == nil:
		return ""
	case *cost >= 100:
		return fmt.Sprintf("$%.0f", *cost)
	case *cost >= 1:
		return fmt.Sprintf("$%.2f", *cost)
	}
	return fmt.Sprintf("$%.3g", *cost)
}

// thousands formats a count, with commas.
func thousands(n int64) string {
	text := strconv.FormatInt(n, 10)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}

// roughlyUp rounds an estimated count up, to two digits.
func roughlyUp(n int64) int64 {
	step := int64(1)
	for n/step >= 100 {
		step *= 10
	}
	return (n + step - 1) / step * step
}

// counted returns a number with its noun, such as 1,200 scenarios.
func counted(n int64, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + what + "s"
}

// listed returns texts as a part of a sentence: the first few, and how many others there are.
func listed(texts []string, most int) string {
	if len(texts) > most+1 {
		return fmt.Sprintf("%s and %d more", strings.Join(texts[:most], ", "), len(texts)-most)
	}
	if last := len(texts) - 1; last > 0 {
		return strings.Join(texts[:last], ", ") + " and " + texts[last]
	}
	return strings.Join(texts, "")
}

// roundTo rounds a number to so many decimals.
func roundTo(number float64, decimals int) float64 {
	unit := math.Pow10(decimals)
	return math.Round(number*unit) / unit
}
