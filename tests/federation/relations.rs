//! Two meshes that federate: the first meeting, new keys, restarts, the end.

use std::time::Duration;

use hopgate::control::federation::{FederationConfig, Health};
use hopgate::identity::{JwtBundle, SpiffeBundle};
use hopgate::runtime::Clock;

use super::parts::{
    Authority, Directory, Mesh, Server, config, domain, exists, relationship, start_of_time, web,
};

const ENDPOINT: &str =
    "federation: { endpoint: { listen: \"127.0.0.1:0\", path: /bundle, profile: https_spiffe } }";
const CONTROL: &str = "spiffe://partner.example/ns/hopgate-system/sa/hopgate-control";

fn spiffe(port: u16, file: &std::path::Path) -> String {
    let file = file.display();
    relationship(
        port,
        &format!("profile: https_spiffe, spiffeId: \"{CONTROL}\", bundleFile: \"{file}\""),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn two_control_planes_meet_by_https_spiffe() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let partner = Mesh::start(&directory, "partner.example", ENDPOINT, &clock).await;
    let document =
        SpiffeBundle::new(partner.bundle.clone(), &JwtBundle::empty(domain("partner.example")));
    let file = directory.write("partner.json", &document.unwrap().to_json());
    let with = spiffe(partner.endpoint.unwrap(), &file);
    let mut mesh = Mesh::start(&directory, "demo.mesh", &with, &clock).await;
    // The file alone is believed before the first answer.
    mesh.believes("partner.example", &partner.bundle).await;
    mesh.look().await;
    let status = mesh.federation.status().remove(0);
    assert_eq!((status.health, status.keys, status.last_error), (Health::Fresh, (1, 1), None));
    assert!(
        status.sequence.is_some(),
        "the answer took the place of the file, which has no number"
    );

    // Removed from the configuration: no longer believed when that returns, and forgotten.
    let kept = directory.path("demo.mesh-ca/federation/partner.example.json");
    assert!(exists(&kept));
    mesh.federation.reconfigure(&FederationConfig::default(), &domain("demo.mesh")).unwrap();
    assert_eq!(mesh.foreign.borrow().iter().count(), 0);
    assert!(!exists(&kept) && mesh.federation.status().is_empty());
    // And back.
    let again = config(&directory, "demo.mesh", &with).federation;
    mesh.federation.reconfigure(&again, &domain("demo.mesh")).unwrap();
    mesh.believes("partner.example", &partner.bundle).await;
    // A configuration that cannot be taken changes nothing.
    let mut wrong = again;
    wrong.with[0].bundle_file = Some(directory.path("nowhere.json"));
    assert!(mesh.federation.reconfigure(&wrong, &domain("demo.mesh")).is_err());
    mesh.believes("partner.example", &partner.bundle).await;
    mesh.stop().await;
    partner.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn new_keys_come_and_old_ones_never_come_back() {
    let (directory, clock) = (Directory::new(), Clock::manual(start_of_time()));
    let (public, first, second) = (Authority::new("web"), Authority::new("a"), Authority::new("b"));
    let server = Server::start(public.web("localhost")).await;
    let hint = Duration::from_secs(60);
    let numbered = |authority: &Authority, number| {
        authority.bundle("partner.example").with_sequence(number).with_refresh_hint(hint)
    };
    let (old, new) = (numbered(&first, 4), numbered(&second, 5));
    server.serves(&old);
    let mut mesh =
        Mesh::start(&directory, "demo.mesh", &web(server.port, &directory, &public, ""), &clock)
            .await;
    mesh.believes("partner.example", old.x509().unwrap()).await;

    // Looked at again after the hint, and not before.
    server.serves(&new);
    let asked = server.asked();
    clock.advance(Duration::from_secs(50));
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert_eq!(server.asked(), asked);
    clock.advance(Duration::from_secs(20));
    mesh.believes("partner.example", new.x509().unwrap()).await;

    for (came, words) in [
        (old.clone(), "sequence 4 is lower than 5"),
        (numbered(&first, 5), "keys are others than before, and its sequence 5 is the same"),
        (first.bundle("partner.example"), "it has no sequence"),
    ] {
        server.serves(&came);
        mesh.look().await;
        mesh.error(words).await;
        mesh.believes("partner.example", new.x509().unwrap()).await;
        assert_eq!(mesh.federation.status()[0].health, Health::Failing);
    }
    mesh.stop().await;

    // Nor after a restart.
    server.serves(&old);
    let mut mesh =
        Mesh::start(&directory, "demo.mesh", &web(server.port, &directory, &public, ""), &clock)
            .await;
    mesh.believes("partner.example", new.x509().unwrap()).await;
    mesh.error("sequence 4 is lower than 5").await;
    mesh.believes("partner.example", new.x509().unwrap()).await;
    mesh.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_good_one_outlives_an_outage_until_it_is_too_old() {
    let (directory, clock) = (Directory::new(), Clock::manual(start_of_time()));
    let (public, authority) = (Authority::new("web"), Authority::new("a"));
    let server = Server::start(public.web("localhost")).await;
    let bundle = authority.bundle("partner.example").with_sequence(1);
    server.serves(&bundle);
    let with = web(server.port, &directory, &public, ", maxAge: 2h");
    let mut mesh = Mesh::start(&directory, "demo.mesh", &with, &clock).await;
    mesh.believes("partner.example", bundle.x509().unwrap()).await;
    server.says("503 Service Unavailable", "");
    mesh.look().await;
    mesh.error("status 503").await;
    mesh.stop().await;

    clock.advance(Duration::from_secs(3600));
    let mut mesh = Mesh::start(&directory, "demo.mesh", &with, &clock).await;
    mesh.believes("partner.example", bundle.x509().unwrap()).await;
    assert_eq!(mesh.federation.status()[0].age, Some(Duration::from_secs(3600)));
    clock.advance(Duration::from_secs(3601));
    let gone = mesh.foreign.wait_for(|foreign| foreign.iter().count() == 0);
    tokio::time::timeout(Duration::from_secs(10), gone).await.unwrap().unwrap();
    assert_eq!(mesh.federation.status()[0].health, Health::Withdrawn);
    // Confirmed again, believed again.
    server.serves(&bundle);
    mesh.look().await;
    mesh.believes("partner.example", bundle.x509().unwrap()).await;
    mesh.stop().await;

    // What was kept is damaged: which revision was the last is not known any more, and that is said.
    directory.write("demo.mesh-ca/federation/partner.example.json", "{}");
    let config = config(&directory, "demo.mesh", &with);
    let error = hopgate::control::Control::bind(&config, clock.clone()).await.err().unwrap();
    assert!(error.to_string().contains("remove it to begin again"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn another_bundle_file_takes_the_place_of_what_was_kept() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let (public, first, second) = (Authority::new("web"), Authority::new("a"), Authority::new("b"));
    let server = Server::start(public.web("localhost")).await;
    server.says("404 Not Found", "");
    let write = |authority: &Authority, number| {
        let bundle = authority.bundle("partner.example").with_sequence(number);
        directory.write("partner.json", &bundle.to_json());
        bundle
    };
    let file = format!(", bundleFile: \"{}\"", directory.path("partner.json").display());
    let with = web(server.port, &directory, &public, &file);
    let old = write(&first, 9);
    let mut mesh = Mesh::start(&directory, "demo.mesh", &with, &clock).await;
    mesh.believes("partner.example", old.x509().unwrap()).await;
    // The operator's word, whatever the number: the way back after a publisher lost its own.
    let new = write(&second, 1);
    let again = config(&directory, "demo.mesh", &with).federation;
    mesh.federation.reconfigure(&again, &domain("demo.mesh")).unwrap();
    mesh.believes("partner.example", new.x509().unwrap()).await;
    mesh.stop().await;
}
