package study

import "math"

// points are the quantiles that a curve has.
const points = 201

// Curve is the quantiles of sorted values, from the least to the greatest.
func Curve(sorted []float64) []float64 {
	if len(sorted) == 0 {
		return nil
	}
	c := make([]float64, points)
	for i := range c {
		c[i] = quantile(sorted, float64(i)/(points-1))
	}
	return c
}

// quantile interpolates between the values next to it; of nothing it is NaN.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return math.NaN()
	}
	x := q * float64(len(sorted)-1)
	i := int(x)
	if i+1 >= len(sorted) {
		return sorted[len(sorted)-1]
	}
	return sorted[i] + (x-float64(i))*(sorted[i+1]-sorted[i])
}

// figureOf is the mean of values and half the width of its 95 % confidence
// interval by Student's t.
func figureOf(values []float64) Figure {
	f := Figure{Values: values}
	n := float64(len(values))
	for _, v := range values {
		f.Mean += v / n
	}
	if n < 2 {
		return f
	}
	var squares float64
	for _, v := range values {
		squares += (v - f.Mean) * (v - f.Mean)
	}
	f.CI = student(len(values)-1) * math.Sqrt(squares/(n-1)/n)
	return f
}

// student is the 97.5 % quantile of Student's t with so many degrees of freedom.
func student(df int) float64 {
	table := [...]float64{
		12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228,
		2.201, 2.179, 2.160, 2.145, 2.131, 2.120, 2.110, 2.101, 2.093, 2.086,
	}
	if df <= len(table) {
		return table[df-1]
	}
	return 1.96 + 2.5/float64(df) // within 0.5 % from there on
}
