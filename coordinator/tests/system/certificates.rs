//! A company binds its people to certificates of its own PKI, which somebody else's tool made, and takes one back.

use std::process::Command;

use coordinator::client::profile::Profile;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use crate::end_to_end::exchange;
use crate::site::{Site, failure};

const CONFIGURATION: &str = "\
[ca]
basicConstraints=critical,CA:TRUE
keyUsage=critical,keyCertSign,cRLSign
[person]
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=clientAuth
[ca_tool]
database=index.txt
crlnumber=crlnumber
certificate=root.pem
private_key=root.key
default_md=sha256
default_crl_days=7
crl_extensions=list
[list]
authorityKeyIdentifier=keyid
";

/// What the company's administrators do, with OpenSSL.
struct Company<'a>(&'a Site);

impl Company<'_> {
    fn openssl(&self, arguments: &[&str]) {
        let output = Command::new("openssl")
            .args(arguments)
            .current_dir(self.0.base.path())
            .output()
            .expect("these tests need the openssl command");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments:?}: {said}");
    }

    fn found(&self) {
        for (file, text) in [
            ("pki.conf", CONFIGURATION),
            ("index.txt", ""),
            ("crlnumber", "01\n"),
        ] {
            std::fs::write(self.0.file(file), text).unwrap();
        }
        let key = [
            "genpkey",
            "-algorithm",
            "RSA",
            "-pkeyopt",
            "rsa_keygen_bits:2048",
        ];
        self.openssl(&[&key[..], &["-out", "root.key"]].concat());
        let subject = ["-subj", "/O=Acme Ltd/CN=Acme Root CA"];
        let request = ["req", "-new", "-key", "root.key", "-out", "root.csr"];
        self.openssl(&[&request[..], &subject].concat());
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            "root.csr",
            "-signkey",
            "root.key",
            "-days",
            "30",
            "-extfile",
            "pki.conf",
            "-extensions",
            "ca",
            "-out",
            "root.pem",
        ]);
    }

    fn certify(&self, name: &str) {
        let (key, csr, pem) = (
            format!("{name}-certificate.key"),
            format!("{name}.csr"),
            format!("{name}-certificate.pem"),
        );
        let curve = ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"];
        self.openssl(&[&["genpkey", "-out", &key], &curve[..]].concat());
        let subject = format!("/O=Acme Ltd/CN={name}");
        self.openssl(&["req", "-new", "-key", &key, "-subj", &subject, "-out", &csr]);
        self.openssl(&[
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            "root.pem",
            "-CAkey",
            "root.key",
            "-CAcreateserial",
            "-days",
            "10",
            "-extfile",
            "pki.conf",
            "-extensions",
            "person",
            "-out",
            &pem,
        ]);
        // Only its owner reads it.
        use std::os::unix::fs::PermissionsExt as _;
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(self.0.file(&key), private).unwrap();
    }

    fn revoke(&self, certificate: &str) {
        let tool = ["ca", "-config", "pki.conf", "-name", "ca_tool"];
        self.openssl(&[&tool[..], &["-revoke", certificate]].concat());
    }

    fn list(&self, out: &str) {
        self.openssl(&[
            "ca", "-config", "pki.conf", "-name", "ca_tool", "-gencrl", "-out", out,
        ]);
    }
}

#[test]
fn a_person_whose_certificate_the_company_revokes_reads_nothing_any_more() {
    let site = Site::start();
    let file = |name: &str| site.file(name).to_str().unwrap().to_owned();
    let company = Company(&site);
    company.found();
    company.certify("alice");
    site.add_user("alice");
    site.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    std::fs::write(site.file("text"), "what was written").unwrap();
    site.cli(&["put", "designs", "bridge", &file("text")]);
    site.cli(&["grant", "designs", "reader", "alice"]);

    let bind = [
        "user",
        "bind",
        "alice",
        "--chain",
        &file("alice-certificate.pem"),
        "--certificate-key",
        &file("alice-certificate.key"),
    ];
    let (status, said, _) = site.fails(&bind);
    assert_eq!(status, 8, "{said}");
    assert!(said.contains("register one first"), "{said}");
    site.cli(&["pki", "set", &file("root.pem")]);
    site.cli(&bind);
    let listed = |site: &Site| {
        let users = site.cli(&["user", "ls"]);
        let users = users.as_array().unwrap().clone();
        let alice = users.into_iter().find(|it| it["user"] == "alice").unwrap();
        alice["certificate"].clone()
    };
    assert!(listed(&site)["fault"].is_null());
    assert_eq!(
        site.cli(&["pki", "ls"])[0]["revocations"],
        serde_json::Value::Null
    );

    // The same with a key that is elsewhere: the statement goes there, and the signature comes back.
    site.cli(&[
        "user",
        "bind",
        "alice",
        "--statement-out",
        &file("statement"),
    ]);
    company.openssl(&[
        "dgst",
        "-sha256",
        "-sign",
        "alice-certificate.key",
        "-out",
        "proof",
        "statement",
    ]);
    let chain = file("alice-certificate.pem");
    let proof = file("proof");
    site.cli(&[
        "user", "bind", "alice", "--chain", &chain, "--proof", &proof,
    ]);

    let (key, copy) = (file("alice.pem"), file("copy"));
    let get = [
        "--user", "alice", "--key", &key, "get", "designs", "bridge", "-o", &copy,
    ];
    site.cli(&get);
    company.list("empty.crl");
    site.cli(&["pki", "publish", &file("empty.crl")]);
    site.cli(&get);

    company.revoke("alice-certificate.pem");
    company.list("alice.crl");
    site.cli(&["pki", "publish", &file("alice.crl")]);
    let (status, said, json) = failure(site.try_cli(&get));
    assert_eq!(status, 8, "{said}");
    assert_eq!(json["error"]["code"], "certificate-revoked", "{said}");
    assert_eq!(listed(&site)["fault"], "certificate-revoked");
    assert_eq!(site.cli(&["pki", "ls"])[0]["revocations"]["revoked"], 1);
    let (_, said, _) = site.fails(&["pki", "publish", &file("empty.crl")]);
    assert!(said.contains("there is a newer one"), "{said}");

    // All of it is in the audit of the user.
    let audited = site.cli(&["audit", "user", "alice", "--kind", "user-certify"]);
    assert_eq!(audited["rows"].as_array().unwrap().len(), 2);
    // A new certificate gives it back, and an administrator binds it.
    company.certify("alice");
    site.cli(&bind);
    site.cli(&get);
    site.cli(&["user", "unbind", "alice"]);
    assert!(listed(&site).is_null());
}

/// The platform is one client, a reader who asks the nodes itself another; each has a certificate of the company, and loses its reads with it.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_reads_by_those_clients_alone_that_its_company_has_bound() {
    let (site, _cluster) = exchange().await;
    let file = |name: &str| site.file(name).to_str().unwrap().to_owned();
    let company = Company(&site);
    company.found();
    for name in ["platform", "station"] {
        company.certify(name);
    }
    let read = |how: &[&str]| {
        let copy = file("copy");
        let _ = std::fs::remove_file(&copy);
        let key = file("reader.pem");
        let get = [
            "--user", "reader", "--key", &key, "get", "designs", "bridge", "-o", &copy,
        ];
        site.try_cli(&[&get[..], how].concat())
    };
    let refused = |how: &[&str]| failure(read(how)).2["error"]["code"].clone();
    let reads = |how: &[&str]| {
        let output = read(how);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{how:?}: {said}");
    };
    let (keys, station) = (
        site.dir().join("verifiers.txt").display().to_string(),
        file("station-certificate.key"),
    );
    let drawn = ["--end-to-end", "--keys", &keys, "--ask-nodes"];
    let own = [&drawn[..], &["--client-key", &station]].concat();
    let ways = [&[][..], &drawn[..], &own[..]];
    for how in ways {
        reads(how);
    }
    site.cli(&["pki", "set", &file("root.pem"), "--bound-clients"]);
    for how in ways {
        assert_eq!(refused(how), "certificate-missing", "{how:?}");
    }

    let bind = |client: &str, name: &str| {
        let (chain, key) = (
            file(&format!("{name}-certificate.pem")),
            file(&format!("{name}-certificate.key")),
        );
        let bind = ["pki", "bind-client", client, "--chain", &chain];
        site.cli(&[&bind[..], &["--certificate-key", &key]].concat());
    };
    let platform = site.cli(&["status"])["client"].as_str().unwrap().to_owned();
    bind(&platform, "platform");
    reads(&[]);
    assert_eq!(refused(&own), "certificate-missing");
    // The station's certificate is of the very key that it shows to the nodes.
    company.openssl(&[
        "pkey",
        "-in",
        "station-certificate.key",
        "-pubout",
        "-outform",
        "DER",
        "-out",
        "station.der",
    ]);
    let spki = std::fs::read(site.file("station.der")).unwrap();
    let station = hex::encode(Sha256::digest(spki));
    bind(&station, "station");
    reads(&own);
    assert_eq!(refused(&drawn), "certificate-missing");

    company.revoke("station-certificate.pem");
    company.list("stations.crl");
    site.cli(&["pki", "publish", &file("stations.crl")]);
    assert_eq!(refused(&own), "certificate-revoked");
    reads(&[]);
    let clients = site.cli(&["pki", "clients"]);
    assert_eq!(clients["bound_clients"], true);
    let clients = clients["items"].as_array().unwrap();
    // In parts, too.
    let key = Profile::read(&site.profile()).unwrap().api_key.unwrap();
    let part = async |after: &str| -> serde_json::Value {
        let url = format!("{}/v1/tenants/main/clients?limit=1{after}", site.url);
        let asked = reqwest::Client::new().get(url).bearer_auth(key.expose());
        asked.send().await.unwrap().json().await.unwrap()
    };
    let first = part("").await;
    assert_eq!(first["items"], json!([clients[0]]));
    let after = first["next"].as_str().unwrap();
    let rest = part(&format!("&after={after}")).await;
    assert_eq!(
        (&rest["items"], &rest["next"]),
        (&json!([clients[1]]), &serde_json::Value::Null)
    );
    let fault = |client: &str| {
        let found = clients.iter().find(|it| it["client"] == client).unwrap();
        found["certificate"]["fault"].clone()
    };
    assert_eq!(fault(&station), "certificate-revoked");
    assert!(fault(&platform).is_null());
    site.cli(&["pki", "unbind-client", &station]);
    assert_eq!(refused(&own), "certificate-missing");
}

/// Whoever is under the company's authorities does not say which they are; the organisation that answers for the tenant does.
#[test]
fn a_bound_administrator_adds_no_authority_and_the_organisation_does() {
    let site = Site::start();
    let file = |name: &str| site.file(name).to_str().unwrap().to_owned();
    let company = Company(&site);
    company.found();
    company.certify("admin");
    std::fs::rename(file("root.pem"), file("first.pem")).unwrap();
    std::fs::copy(file("first.pem"), file("root.pem")).unwrap();
    site.cli(&["pki", "set", &file("first.pem")]);
    let bind = [
        "user",
        "bind",
        "admin",
        "--chain",
        &file("admin-certificate.pem"),
    ];
    let key = file("admin-certificate.key");
    site.cli(&[&bind[..], &["--certificate-key", &key]].concat());
    company.found();
    let set = ["pki", "set", &file("first.pem"), &file("root.pem")];
    let (status, said, json) = site.fails(&set);
    assert_eq!(status, 8, "{said}");
    assert_eq!(json["error"]["code"], "organisation-decides");
    assert!(said.contains("organisation alder"), "{said}");
    let by = |organisation: &'static str| {
        let (dir, passphrase) = (site.dir(), site.passphrase());
        let by = [
            "--organisation",
            organisation,
            "--dir",
            dir.to_str().unwrap(),
        ];
        let by = [
            &by[..],
            &["--passphrase-file", passphrase.to_str().unwrap()],
        ]
        .concat();
        by.into_iter().map(str::to_owned).collect::<Vec<_>>()
    };
    let with = |arguments: &[&str], organisation| {
        let by = by(organisation);
        let by: Vec<&str> = by.iter().map(String::as_str).collect();
        site.try_cli(&[arguments, &by[..]].concat())
    };
    let (_, _, json) = failure(with(&set, "birch"));
    assert_eq!(json["error"]["code"], "not-administrator");
    assert!(with(&set, "alder").status.success());
    assert_eq!(site.cli(&["pki", "ls"]).as_array().unwrap().len(), 2);
    let (_, _, json) = site.fails(&["user", "unbind", "admin"]);
    assert_eq!(json["error"]["code"], "own-account");
    assert!(with(&["user", "unbind", "admin"], "alder").status.success());
    site.cli(&["pki", "set", &file("root.pem")]);
}
