//! A company binds its people to certificates of its own PKI, which somebody else's tool made, and takes one back.

use std::process::Command;

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

    company.openssl(&[
        "ca",
        "-config",
        "pki.conf",
        "-name",
        "ca_tool",
        "-revoke",
        "alice-certificate.pem",
    ]);
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
