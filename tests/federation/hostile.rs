//! Endpoints that answer what they should not, and impostors.

use std::time::Duration;

use hopgate::runtime::Clock;

use super::parts::{Authority, Directory, Leaf, Mesh, Server, relationship, web};

const ENDPOINT: &str = "spiffe://partner.example/bundle";

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_is_no_bundle_changes_nothing() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let (public, authority) = (Authority::new("web"), Authority::new("a"));
    let server = Server::start(public.web("localhost")).await;
    let elsewhere = Server::start(public.web("localhost")).await;
    let stranger = Server::start(Authority::new("nobody").web("localhost")).await;
    let bundle = authority.bundle("partner.example").with_sequence(1);
    server.serves(&bundle);
    let mut mesh =
        Mesh::start(&directory, "demo.mesh", &web(server.port, &directory, &public, ""), &clock)
            .await;
    mesh.believes("partner.example", bundle.x509().unwrap()).await;
    let large = format!("{{\"keys\":[],\"x\":\"{}\"}}", "x".repeat(1024 * 1024));
    let to =
        |port: u16, scheme: &str| format!("302 Found\r\nlocation: {scheme}://localhost:{port}/b");
    stranger.serves(&authority.bundle("partner.example").with_sequence(9));
    for (head, body, words) in [
        ("404 Not Found".to_owned(), "", "status 404"),
        ("204 No Content".to_owned(), "", "status 204"),
        ("200 OK".to_owned(), "<html>", "no SPIFFE bundle: not JSON"),
        ("200 OK".to_owned(), "{}", "an object with an array `keys`"),
        ("200 OK".to_owned(), "{\"keys\":[{}]}", "key 1 of the bundle"),
        ("200 OK".to_owned(), large.as_str(), "longer than"),
        ("200 OK\r\ncontent-encoding: gzip".to_owned(), "x", "compressed"),
        (to(elsewhere.port, "http"), "", "another scheme"),
        (to(server.port, "https"), "", "more than three times"),
        // The same demands hold for wherever it leads.
        (to(stranger.port, "https"), "", "certificate"),
        ("302 Found\r\nlocation: https://user@localhost/b".to_owned(), "", "user name"),
    ] {
        server.says(&head, body);
        mesh.look().await;
        mesh.error(words).await;
        mesh.believes("partner.example", bundle.x509().unwrap()).await;
    }
    // A redirect to where the demands are met is followed, each time anew from the URL of the configuration.
    let moved = authority.bundle("partner.example").with_sequence(2);
    elsewhere.serves(&moved);
    server.says(&to(elsewhere.port, "https"), "");
    mesh.look().await;
    let status = mesh.federation.status().remove(0);
    assert_eq!((status.sequence, status.last_error), (Some(2), None));
    server.says("404 Not Found", "");
    mesh.look().await;
    mesh.error("status 404").await;
    // An empty bundle is one: the trust domain takes back all its keys.
    server.says("200 OK", "{\"keys\":[],\"spiffe_sequence\":3}");
    mesh.look().await;
    assert_eq!(mesh.federation.status()[0].keys, (0, 0));
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_is_its_spiffe_id_by_its_own_roots() {
    let (partner, other) = (Authority::new("partner"), Authority::new("other"));
    let second = 1;
    let past = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names = vec![rcgen::SanType::URI(ENDPOINT.try_into().unwrap())];
        params.not_after = rcgen::date_time_ymd(2020, 1, second);
        params.not_before = rcgen::date_time_ymd(2019, 1, 1);
    };
    let client_only = |params: &mut rcgen::CertificateParams| {
        params.subject_alt_names = vec![rcgen::SanType::URI(ENDPOINT.try_into().unwrap())];
        params.extended_key_usages = vec![rcgen::ExtendedKeyUsagePurpose::ClientAuth];
    };
    let rows: Vec<(Leaf, Option<&str>)> = vec![
        (partner.svid(ENDPOINT), None),
        (
            partner.svid("spiffe://partner.example/other"),
            Some("not spiffe://partner.example/bundle"),
        ),
        (
            partner.svid("spiffe://third.example/bundle"),
            Some("not spiffe://partner.example/bundle"),
        ),
        (partner.web("localhost"), Some("shows no X509-SVID")),
        (other.svid(ENDPOINT), Some("UnknownIssuer")),
        (partner.leaf(past), Some("xpired")),
        (partner.leaf(client_only), Some("extended key usage")),
    ];
    for (leaf, refused) in rows {
        let directory = Directory::new();
        let server = Server::start(leaf).await;
        let fresh = partner.bundle("partner.example").with_sequence(7);
        server.serves(&fresh);
        let file = directory.write("partner.json", &partner.bundle("partner.example").to_json());
        let fields = format!(
            "profile: https_spiffe, spiffeId: \"{ENDPOINT}\", bundleFile: \"{}\"",
            file.display()
        );
        let with = relationship(server.port, &fields);
        let mesh = Mesh::start(&directory, "demo.mesh", &with, &Clock::system()).await;
        match refused {
            Some(words) => {
                mesh.error(words).await;
                assert_eq!(mesh.federation.status()[0].sequence, None, "{words}");
            }
            None => {
                mesh.look().await;
                assert_eq!(mesh.federation.status()[0].sequence, Some(7));
            }
        }
        mesh.stop().await;
    }
}

/// An endpoint of another trust domain, whose bundle comes by a relationship of its own.
#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_may_be_of_another_trust_domain_that_is_known() {
    let directory = Directory::new();
    let (host, partner) = (Authority::new("host"), Authority::new("partner"));
    let server = Server::start(host.svid("spiffe://host.example/bundles")).await;
    server.serves(&partner.bundle("partner.example").with_sequence(3));
    let file = directory.write("host.json", &host.bundle("host.example").to_json());
    let with = format!(
        "federation:\n  with:\n\
         \x20 - {{ trustDomain: host.example, url: \"https://localhost:1/\", profile: https_web, bundleFile: \"{}\" }}\n\
         \x20 - {{ trustDomain: partner.example, url: \"https://localhost:{}/\", profile: https_spiffe, spiffeId: \"spiffe://host.example/bundles\" }}\n",
        file.display(),
        server.port
    );
    let mut mesh = Mesh::start(&directory, "demo.mesh", &with, &Clock::system()).await;
    let bundle = partner.bundle("partner.example");
    mesh.believes("partner.example", bundle.x509().unwrap()).await;
    // One look at a time, whatever is asked: nobody is flooded.
    for _ in 0..50 {
        mesh.federation.look_now();
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(server.asked() < 60, "{}", server.asked());
    mesh.stop().await;
}
