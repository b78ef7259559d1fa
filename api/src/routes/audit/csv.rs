//! Entries as RFC 4180 has them (<https://www.rfc-editor.org/rfc/rfc4180>), so that a spreadsheet shows
//! them and runs none.

use super::AuditEntry;

/// The first line.
pub(super) const HEAD: &str = "id,at,user_id,username,session_id,address,action,target,cluster,\
                               result,status,detail,before,after,request_id\r\n";

/// One entry.
pub(super) fn line(entry: &AuditEntry) -> String {
    let id = |id: &Option<uuid::Uuid>| id.map(|id| id.to_string()).unwrap_or_default();
    let json = |value: &Option<serde_json::Value>| {
        value.as_ref().map(ToString::to_string).unwrap_or_default()
    };
    let cells = [
        entry.id.to_string(),
        entry.at.to_string(),
        id(&entry.user_id),
        entry.username.clone(),
        id(&entry.session_id),
        entry.address.clone(),
        entry.action.clone(),
        entry.target.clone(),
        entry.cluster.clone(),
        entry.result.clone(),
        entry.status.to_string(),
        entry.detail.clone(),
        json(&entry.before),
        json(&entry.after),
        entry.request_id.clone(),
    ];
    let mut line = cells.map(|text| cell(&text)).join(",");
    line.push_str("\r\n");
    line
}

/// Spreadsheets take a cell that begins with one of these for a formula, some of them after blanks or
/// in full width (<https://owasp.org/www-community/attacks/CSV_Injection>): an apostrophe makes it text.
fn cell(text: &str) -> String {
    const FORMULA: [char; 9] = ['=', '+', '-', '@', '|', '＝', '＋', '－', '＠'];
    let begins = text.trim_start().starts_with(FORMULA) || text.starts_with(['\t', '\r', '\n']);
    let quoted = text.replace('"', "\"\"");
    if begins { format!("\"'{quoted}\"") } else { format!("\"{quoted}\"") }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_formula_is_text() {
        for (text, expected) in [
            ("", "\"\""),
            ("jane", "\"jane\""),
            ("a,b\"c\nd", "\"a,b\"\"c\nd\""),
            ("=1+1", "\"'=1+1\""),
            ("+1", "\"'+1\""),
            ("-1", "\"'-1\""),
            ("@SUM(A1)", "\"'@SUM(A1)\""),
            ("  =1", "\"'  =1\""),
            ("\t=1", "\"'\t=1\""),
            ("＝1", "\"'＝1\""),
            ("=cmd|' /C calc'!A0", "\"'=cmd|' /C calc'!A0\""),
            ("a=1", "\"a=1\""),
        ] {
            assert_eq!(cell(text), expected, "{text:?}");
        }
    }

    proptest! {
        /// Whatever is in it, a cell is one cell, and gives back its text.
        #[test]
        fn a_cell_stays_one(text in ".{0,40}") {
            let cell = cell(&text);
            let inner = cell.strip_prefix('"').and_then(|c| c.strip_suffix('"')).expect("quoted");
            prop_assert!(!inner.replace("\"\"", "").contains('"'));
            let back = inner.replace("\"\"", "\"");
            prop_assert_eq!(back.strip_prefix('\'').filter(|_| !text.starts_with('\'')).unwrap_or(&back), &text);
            prop_assert!(!inner.trim_start().starts_with(['=', '+', '-', '@']));
        }
    }
}
