//! Control totals, in words.

use protocol::control_totals::Verdict;
use replica::office::ControlTotal;

use crate::units;

/// How they compare, in a few words: `3 agree`, `1 of 3 differs`.
pub(crate) fn summary(totals: &[ControlTotal]) -> String {
    let count = |verdict: Verdict| totals.iter().filter(|total| total.verdict == verdict).count();
    let (all, differ, agree) = (totals.len(), count(Verdict::Differs), count(Verdict::Agrees));
    match (all, differ) {
        (0, _) => "-".to_owned(),
        (_, 1) => format!("1 of {all} differs"),
        (_, 2..) => format!("{differ} of {all} differ"),
        _ if agree < all => format!("{agree} of {all} {}", if agree == 1 { "agrees" } else { "agree" }),
        _ => format!("{all} {}", if all == 1 { "agrees" } else { "agree" }),
    }
}

/// One table in words: what each end has, and what that means.
pub(crate) fn line(total: &ControlTotal) -> String {
    let rows = |count| units::count(count, "row");
    let what = match total.verdict {
        Verdict::Agrees => "agrees",
        Verdict::Changing => "was changed while it was counted",
        Verdict::Waiting => "differs, and rows wait in quarantine",
        Verdict::Kept => "differs by rows that one end has deleted and the other keeps",
        Verdict::Differs => "differs",
    };
    let mut line = format!("{} {what}: {}", total.table, rows(total.office_rows));
    let figures = |line: &mut String, of: &dyn Fn(&replica::office::SumOfBoth) -> Option<String>| {
        for (column, sum) in &total.sums {
            line.push_str(&format!(", {column} {}", of(sum).unwrap_or_else(|| "unknown".to_owned())));
        }
    };
    figures(&mut line, &|sum| Some(sum.office.clone()));
    if total.verdict == Verdict::Agrees {
        return line;
    }
    line.push_str(&format!(" at the office; {}", rows(total.shop_rows)));
    figures(&mut line, &|sum| sum.shop.clone());
    line.push_str(" at the shop");
    line
}

#[cfg(test)]
mod tests {
    use replica::office::SumOfBoth;

    use super::*;

    fn total(verdict: Verdict, office: i64, shop: i64) -> ControlTotal {
        let sum = SumOfBoth { office: format!("{office}.50"), shop: Some(format!("{shop}.50")) };
        ControlTotal {
            table: "sale".into(),
            office_rows: office,
            shop_rows: shop,
            sums: [("total".to_owned(), sum)].into(),
            verdict,
        }
    }

    #[test]
    fn a_difference_is_told_with_the_figures_of_both_ends() {
        assert_eq!(line(&total(Verdict::Agrees, 3, 3)), "sale agrees: 3 rows, total 3.50");
        assert_eq!(
            line(&total(Verdict::Differs, 3, 4)),
            "sale differs: 3 rows, total 3.50 at the office; 4 rows, total 4.50 at the shop"
        );
    }

    #[test]
    fn a_summary_names_what_differs_first() {
        let (same, other, changing) =
            (total(Verdict::Agrees, 3, 3), total(Verdict::Differs, 3, 4), total(Verdict::Changing, 3, 4));
        assert_eq!(summary(&[]), "-");
        assert_eq!(summary(std::slice::from_ref(&same)), "1 agrees");
        assert_eq!(summary(&[same.clone(), other, changing.clone()]), "1 of 3 differs");
        assert_eq!(summary(&[same, changing]), "1 of 2 agrees");
    }
}
