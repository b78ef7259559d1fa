//! Whatever comes from outside is understood or refused with the name of its place; nothing panics. The
//! longer search is `tests/fuzz`.

use std::collections::BTreeMap;

use http::Request;
use knm_api::clusters::{FieldSelector, LabelSelector};
use knm_api::http::client::{Edge, Peer};
use knm_api::http::query::Query;
use knm_api::http::same_origin;
use knm_api::tasks::Action;
use proptest::prelude::*;
use serde_json::{Value, json};

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        "[a-zA-Z0-9./ =!-]{0,20}".prop_map(Value::from),
        prop_oneof![Just("NoExecute"), Just("NoSchedule"), Just("a"), Just("kubernetes.io/x")]
            .prop_map(Value::from),
    ];
    let key = prop_oneof![
        4 => Just("set".to_owned()), 4 => Just("remove".to_owned()), 2 => Just("key".to_owned()),
        2 => Just("effect".to_owned()), 2 => Just("value".to_owned()),
        1 => Just("allow_protected".to_owned()), 1 => Just("pod_selector".to_owned()),
        2 => "[a-z./]{0,8}".prop_map(String::from),
    ];
    leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(key.clone(), inner, 0..4).prop_map(|map| json!(map)),
        ]
    })
}

proptest! {
    #[test]
    fn parameters(action in "label|annotate|taint|cordon|uncordon|drain|revert|x", params in value()) {
        match Action::submitted(&action, &params) {
            Ok(action) => prop_assert_eq!(Action::parse(action.name(), &action.params()), Ok(action)),
            Err(faults) => {
                prop_assert!(!faults.is_empty());
                prop_assert!(faults.iter().all(|f| !f.field.is_empty() && !f.message.is_empty()));
            }
        }
    }

    #[test]
    fn selectors(text in "[a-z0-9=!,() ./<>in-]{0,40}|.{0,20}") {
        let labels = BTreeMap::from([("a".to_owned(), "b".to_owned())]);
        if let Ok(selector) = text.parse::<LabelSelector>() {
            let _ = selector.matches(&labels);
        }
        let _ = text.parse::<FieldSelector>();
    }

    #[test]
    fn headers(
        forwarded in "[0-9a-f.:,\\[\\] ]{0,60}|[ -~]{0,40}",
        origin in "(http|https|null|x)(://)?[a-z0-9.:@/-]{0,20}",
        host in "[a-z0-9.:\\[\\]@-]{0,20}",
    ) {
        let address = ([127, 0, 0, 1], 1).into();
        let request = Request::post("/").extension(Peer { address, tls: false });
        let request = request.header("x-forwarded-for", &forwarded).header("origin", &origin);
        let request = request.header("host", &host).header("cookie", "knm_session=x").body(());
        let parts = request.expect("visible characters").into_parts().0;
        let trusting = Edge::new(&["127.0.0.1".into()], "").expect("an address");
        let client = trusting.client(&parts);
        let _ = same_origin::check(&parts, &client, &trusting);
        let strict = Edge::default();
        prop_assert_eq!(strict.client(&parts).address, std::net::IpAddr::from([127, 0, 0, 1]));
        // Only the own host passes, whatever stands in the rest.
        if same_origin::check(&parts, &strict.client(&parts), &strict).is_ok() {
            let authority = origin.split_once("://").map(|(_, a)| a.to_lowercase());
            prop_assert_eq!(authority, Some(host.to_lowercase()));
        }
    }

    #[test]
    fn queries(text in "[a-z0-9=&%+.]{0,60}") {
        let uri: http::Uri = format!("/x?{text}").parse().expect("a path");
        let mut query = Query::new(&uri);
        let _ = (query.text("a"), query.flag("b"), query.number("c", 1, 9), query.parsed::<i64>("d"));
        if let Err(problem) = query.finish() {
            prop_assert_eq!(problem.status(), 422);
        }
    }
}
