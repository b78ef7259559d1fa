//! API2: what is no session, and what is one no more, opens nothing; nor does another site's page.

use anyhow::Context as _;
use http::Method;
use knm_tests::api::Api;
use knm_tests::scenario::{ADMIN, PASSWORD, World};
use knm_tests::ws::{Connection, RefusedUpgrade};
use serde_json::{Value, json};

use crate::support::{JSON, SOON, delete, login, refused, say, status, user};

/// The status that both ways to a WebSocket refuse with.
async fn no_socket(world: &World, headers: &[(&'static str, String)]) -> anyhow::Result<u16> {
    let mut found = None;
    for address in [world.pods[0].relay.address(), world.pods[0].api.address()] {
        let error = Connection::open_with(&address, headers).await.err().context("it is let in")?;
        let refused = error.downcast_ref::<RefusedUpgrade>().context(error.to_string())?;
        assert!(refused.content_type.starts_with("application/problem+json"), "{refused:?}");
        assert!(found.is_none_or(|status| status == refused.status), "{refused:?}");
        found = Some(refused.status);
    }
    found.context("two answers")
}

async fn nothing_opens(world: &World, token: &str, why: &str) -> anyhow::Result<()> {
    let nobody = world.pods[0].client();
    let bearer = format!("Bearer {token}");
    let cookie = format!("knm_session={token}");
    for header in [("authorization", bearer), ("cookie", cookie)] {
        for path in ["/api/v1/auth/me", "/api/v1/tasks", "/api/v1/clusters/default/nodes/events"] {
            let headers = [(header.0, header.1.as_str())];
            let answer = nobody.send(Method::GET, path, &headers, "").await;
            assert_eq!(refused(answer).await?, 401, "{why}: {path} by {}", header.0);
        }
        assert_eq!(no_socket(world, &[header]).await?, 401, "{why}");
    }
    Ok(())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forged_expired_and_revoked_sessions_open_nothing() -> anyhow::Result<()> {
    let world = World::new("sessions").nodes(1).start().await?;
    let api = world.sign_in(0).await?;
    let session = api.token()?.to_owned();
    let token = api.post("/api/v1/auth/tokens", &json!({"name": "bot"})).await?.ok()?;
    let personal = token["token"].as_str().context("a secret")?.to_owned();

    // The last letter carries bits that decoders may ignore; the whole text counts.
    let forged = format!("{}{}", &session[..session.len() - 1], "_");
    let hash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    for fake in ["x", "knm_", "null", "' OR 1=1 --", "%00", hash, &forged, &session.to_uppercase()]
    {
        nothing_opens(&world, fake, fake).await?;
    }
    let in_the_url = format!("/api/v1/auth/me?token={session}&access_token={session}");
    assert_eq!(refused(world.pods[0].client().get(&in_the_url).await).await?, 401);

    let id = token["id"].as_str().context("an id")?;
    delete(&api, &format!("/api/v1/auth/tokens/{id}")).await?.ok()?;
    nothing_opens(&world, &personal, "a revoked token").await?;

    let sql = world.database.connect().await?;
    sql.batch_execute("UPDATE sessions SET expires_at = now()").await?;
    nothing_opens(&world, &session, "an expired session").await?;
    let api = world.sign_in(0).await?;
    let session = api.token()?.to_owned();
    api.post("/api/v1/auth/logout", &Value::Null).await?.ok()?;
    nothing_opens(&world, &session, "a session that was signed out of").await?;
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_that_is_closed_opens_nothing() -> anyhow::Result<()> {
    let world = World::new("closed").nodes(1).start().await?;
    let admin = world.sign_in(0).await?;
    let theirs = user(&world, "jane", "operator").await?;
    let id = crate::support::id(&theirs).await?;
    let path = format!("/api/v1/users/{id}");
    crate::support::patch(&admin, &path, &json!({"disabled": true})).await?.ok()?;
    nothing_opens(&world, theirs.token()?, "a closed account").await?;
    let nobody = world.pods[0].client();
    assert!(nobody.login("jane", crate::support::USER_PASSWORD).await.is_err());
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_of_another_site_can_use_no_cookie() -> anyhow::Result<()> {
    let world = World::new("cross_site").nodes(1).start().await?;
    let api = world.sign_in(0).await?;
    let cookie = format!("knm_session={}", api.token()?);
    let own = format!("http://{}", world.pods[0].api.address());
    let nobody: Api = world.pods[0].client();
    let body = json!({"name": "x"}).to_string();
    let form = "application/x-www-form-urlencoded";
    let tokens = "/api/v1/auth/tokens";
    let post = async |headers: &[(&str, &str)], body: &str| {
        let answer = nobody.send(Method::POST, tokens, headers, body.to_owned()).await?;
        anyhow::Ok(answer.status.as_u16())
    };
    let cookie = ("cookie", cookie.as_str());
    for (origin, expected) in [
        (("origin", "https://evil.example"), 403),
        (("origin", "null"), 403),
        (("origin", "http://127.0.0.1:1"), 403),
        (("sec-fetch-site", "cross-site"), 403),
        (("sec-fetch-site", "same-site"), 403),
        (("sec-fetch-site", "same-origin"), 201),
        (("origin", own.as_str()), 201),
        (("x-origin", "none at all"), 403),
    ] {
        assert_eq!(post(&[JSON, cookie, origin], &body).await?, expected, "{origin:?}");
        // A form, as another site's page can send it without asking.
        let status = post(&[("content-type", form), cookie, origin], "name=x").await?;
        assert_eq!(status, if expected == 403 { 403 } else { 415 }, "{origin:?}");
    }
    // The password in the URL of a link makes some browsers send this.
    let basic = ("authorization", "Basic YWRtaW46eA==");
    assert_eq!(post(&[JSON, cookie, basic, ("origin", "https://evil.example")], &body).await?, 403);
    // Signing a visitor in as somebody else is of use to an attacker, too.
    let signing_in = json!({"username": ADMIN, "password": PASSWORD}).to_string();
    let headers = [JSON, ("origin", "https://evil.example")];
    let answer = nobody.send(Method::POST, "/api/v1/auth/login", &headers, signing_in).await;
    assert_eq!(refused(answer).await?, 403);
    assert_eq!(
        world
            .database
            .value::<i64>("SELECT count(*) FROM sessions WHERE kind = 'token'", &[])
            .await?,
        2
    );

    let evil = [("cookie", cookie.1.to_owned()), ("origin", "https://evil.example".to_owned())];
    assert_eq!(no_socket(&world, &evil).await?, 403);
    world.stop().await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_tells_which_users_there_are() -> anyhow::Result<()> {
    let world = World::new("enumeration").nodes(1).start().await?;
    user(&world, "jane", "viewer").await?;
    let api = world.pods[0].api.address();
    let mut answers = Vec::new();
    for (name, password) in [("jane", "wrong"), ("nobody", "wrong"), ("jane", ""), ("a b", "x")] {
        let answer = say([127, 0, 0, 9], &api, login(name, password).as_bytes(), SOON).await?;
        assert_eq!(status(&answer)?, 401, "{answer}");
        let (_, body) = answer.split_once("\r\n\r\n").context("a body")?;
        let mut body: Value = serde_json::from_str(body)?;
        body["request_id"] = Value::Null;
        answers.push(body);
    }
    assert!(answers.windows(2).all(|pair| pair[0] == pair[1]), "{answers:?}");
    world.stop().await
}

/// Without a database the relay cannot know anybody, and lets nobody in.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_cannot_be_checked_is_not_let_in() -> anyhow::Result<()> {
    let world = World::new("fails_closed").nodes(1).proxies().start().await?;
    let api = world.sign_in(0).await?;
    let bearer = [("authorization", format!("Bearer {}", api.token()?))];
    let relay = world.pods[0].relay.address();
    Connection::open_with(&relay, &bearer).await?.close().await;
    let proxy = &world.relay_proxies[0];
    proxy.refuse_new().await;
    proxy.cut(&knm_tests::proxy::Select::All);
    let error = Connection::open_with(&relay, &bearer).await.err().context("it is let in")?;
    let refused = error.downcast_ref::<RefusedUpgrade>().context(error.to_string())?;
    assert_eq!(refused.status, 503, "{refused:?}");
    world.stop().await
}
