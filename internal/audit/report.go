package audit

// ScaleReport is the consistency within a time, as the debug view and the operator's tool print it in JSON.
type ScaleReport struct {
	Within       float64 `json:"within_seconds"`
	Judged       uint64  `json:"judged"`
	Inconsistent uint64  `json:"inconsistent"`
	Share        float64 `json:"share"` // that was consistent
	Low          float64 `json:"low"`   // with 95% confidence
	High         float64 `json:"high"`
	Nines        float64 `json:"nines"` // of low
}
