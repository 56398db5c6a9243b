//! The same profile from the `openssl` command: what it makes we count, what we make it reads and verifies.

use std::path::Path;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::issuing::{approval, policy_of};
use certs::{
    Algorithm, Approval, Binding, Issuer, Organisation, Policy, PolicyConfig, Refusal,
    UnverifiedApproval, subject_public_key_info,
};

const WRITE_ID: [u8; 32] = [0xab; 32];
const EPHEMERAL_POINT: [u8; 32] = [0xcd; 32];

/// A folder in which the `openssl` command keeps an authority and its files.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, contents: impl AsRef<[u8]>) {
        std::fs::write(self.path().join(name), contents).unwrap();
    }

    fn read(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path().join(name)).unwrap()
    }

    fn text(&self, name: &str) -> String {
        String::from_utf8(self.read(name)).unwrap()
    }

    /// Runs `openssl` with these arguments, separated by spaces (`~` stands for a space within one).
    fn openssl(&self, arguments: &str) -> String {
        let output = Command::new("openssl")
            .args(
                arguments
                    .split_whitespace()
                    .map(|argument| argument.replace('~', " ")),
            )
            .current_dir(self.path())
            .output()
            .expect("these tests need the openssl command");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "openssl {arguments}: {said}");
        String::from_utf8(output.stdout).unwrap()
    }

    fn key(&self, name: &str, algorithm: Algorithm) {
        match algorithm {
            Algorithm::Ed25519 => self.openssl(&format!("genpkey -algorithm ed25519 -out {name}")),
            Algorithm::EcdsaP256 => self.openssl(&format!(
                "genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out {name}"
            )),
        };
    }

    /// An authority with a certificate `ca.pem` and a key `ca.key`.
    fn authority(algorithm: Algorithm) -> Self {
        let folder = Self::new();
        folder.key("ca.key", algorithm);
        folder.write(
            "openssl.cnf",
            "[req]\n\
             distinguished_name = dn\n\
             [dn]\n\
             [authority]\n\
             basicConstraints = critical, CA:TRUE, pathlen:0\n\
             keyUsage = critical, keyCertSign, cRLSign\n\
             subjectKeyIdentifier = hash\n\
             [ca]\n\
             default_ca = here\n\
             [here]\n\
             database = index.txt\n\
             new_certs_dir = .\n\
             rand_serial = yes\n\
             default_md = default\n\
             policy = any\n\
             unique_subject = no\n\
             [any]\n\
             commonName = supplied\n",
        );
        folder.write("index.txt", "");
        folder.openssl(
            "req -x509 -new -utf8 -config openssl.cnf -extensions authority -key ca.key -days 30 \
             -subj /C=DE/O=Klinikum~Süd/CN=approvals -out ca.pem",
        );
        folder.openssl("x509 -in ca.pem -outform DER -out ca.der");
        folder
    }

    /// A client's key: its request `client.csr` and its SubjectPublicKeyInfo.
    fn client(&self, algorithm: Algorithm) -> Vec<u8> {
        self.key("client.key", algorithm);
        self.openssl(
            "req -new -config openssl.cnf -key client.key -subj /CN=client -out client.csr",
        );
        self.openssl("pkey -in client.key -pubout -outform DER -out client.spki");
        self.read("client.spki")
    }

    /// Has the authority certify the client's request with these extensions, for 200 seconds from now on.
    fn approve(&self, extensions: &str) -> Vec<u8> {
        self.write("approval.cnf", extensions);
        let [from, to] = [now(), now() + 200].map(|seconds| {
            let at =
                der::DateTime::from_unix_duration(std::time::Duration::from_secs(seconds)).unwrap();
            format!("{at}").replace(['-', ':', 'T'], "")
        });
        self.openssl(&format!(
            "ca -batch -notext -config openssl.cnf -cert ca.pem -keyfile ca.key -in client.csr -out leaf.pem \
             -extfile approval.cnf -startdate {from} -enddate {to}"
        ));
        self.openssl("x509 -in leaf.pem -outform DER -out leaf.der");
        self.read("leaf.der")
    }

    fn policy(&self) -> Policy {
        policy("Klinikum Süd", self.text("ca.pem"))
    }
}

fn policy(name: &str, issuer: String) -> Policy {
    Policy::new(PolicyConfig {
        approvals_needed: 1,
        organisations: vec![Organisation::from_pem(name, &[issuer]).unwrap()],
        max_lifetime_s: 300,
        tolerance_s: 30,
    })
    .unwrap()
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// The profile, as OpenSSL's configuration has it.
fn profile() -> String {
    format!(
        "basicConstraints = critical, CA:FALSE\n\
         keyUsage = critical, digitalSignature\n\
         extendedKeyUsage = critical, 1.3.6.1.4.1.32473.1.2.1\n\
         subjectKeyIdentifier = hash\n\
         authorityKeyIdentifier = keyid\n\
         1.3.6.1.4.1.32473.1.1.1 = critical, DER:0420{}\n\
         1.3.6.1.4.1.32473.1.1.2 = critical, DER:0420{}\n\
         1.3.6.1.4.1.32473.1.1.3 = critical, ASN1:UTF8String:read-42\n",
        hex::encode(WRITE_ID),
        hex::encode(EPHEMERAL_POINT),
    )
}

fn binding(client_spki: &[u8]) -> Binding<'_> {
    Binding {
        write_id: WRITE_ID,
        ephemeral_point: EPHEMERAL_POINT,
        client_spki,
    }
}

const BOTH: [Algorithm; 2] = [Algorithm::Ed25519, Algorithm::EcdsaP256];

#[test]
fn what_openssl_issues_is_counted() {
    for algorithm in BOTH {
        let folder = Folder::authority(algorithm);
        for client in BOTH {
            let spki = folder.client(client);
            let leaf = folder.approve(&profile());
            let approved = folder
                .policy()
                .verify(&[&leaf], &binding(&spki), now())
                .unwrap();
            assert_eq!(approved.counted[0].approval_id, "read-42");
            assert_eq!(approved.counted[0].organisation, "Klinikum Süd");
        }
    }
}

#[test]
fn openssls_least_strict_form_of_the_profile_is_counted() {
    let folder = Folder::authority(Algorithm::EcdsaP256);
    let spki = folder.client(Algorithm::Ed25519);
    let lenient = profile()
        .replace("basicConstraints = critical, ", "basicConstraints = ")
        .replace("keyUsage = critical, digital", "keyUsage = digital");
    let leaf = folder.approve(&lenient);
    assert!(
        folder
            .policy()
            .verify(&[&leaf], &binding(&spki), now())
            .is_ok()
    );
}

#[test]
fn what_openssl_issues_off_the_profile_is_refused() {
    let folder = Folder::authority(Algorithm::Ed25519);
    let spki = folder.client(Algorithm::Ed25519);
    let policy = folder.policy();
    for (from, to, code) in [
        ("CA:FALSE", "CA:TRUE", "approval-is-authority"),
        (
            "digitalSignature",
            "digitalSignature, keyAgreement",
            "approval-extension-value",
        ),
        (
            "32473.1.2.1",
            "32473.1.2.1, serverAuth",
            "approval-extension-value",
        ),
        (
            "extendedKeyUsage = critical, ",
            "extendedKeyUsage = ",
            "approval-extension-not-critical",
        ),
        ("UTF8String", "PrintableString", "approval-extension-value"),
        ("DER:0420ab", "DER:0420ac", "approval-other-write-id"),
        ("DER:0420cd", "DER:0420ce", "approval-other-ephemeral-key"),
        (
            "32473.1.1.3 =",
            "32473.1.1.4 =",
            "approval-unknown-critical-extension",
        ),
        (
            "subjectKeyIdentifier",
            "tlsfeature = critical, status_request\nsubjectKeyIdentifier",
            "approval-unknown-critical-extension",
        ),
        (
            "basicConstraints = critical, CA:FALSE\n",
            "",
            "approval-missing-extension",
        ),
        (
            "keyUsage = critical, digitalSignature\n",
            "",
            "approval-missing-extension",
        ),
    ] {
        let changed = profile().replacen(from, to, 1);
        assert_ne!(changed, profile());
        let leaf = folder.approve(&changed);
        let refused = policy.verify(&[&leaf], &binding(&spki), now()).unwrap_err();
        assert_eq!(refused.reasons[0].1.code(), code, "{from} changed to {to}");
    }
    // The certificate of a stranger's authority of the same name.
    let stranger = Folder::authority(Algorithm::Ed25519);
    stranger.client(Algorithm::Ed25519);
    let spki = stranger.read("client.spki");
    let leaf = stranger.approve(&profile());
    let refused = policy.verify(&[&leaf], &binding(&spki), now()).unwrap_err();
    assert_eq!(refused.reasons, [(0, Refusal::UnknownIssuer)]);
}

#[test]
fn what_we_issue_openssl_reads_and_verifies() {
    for algorithm in BOTH {
        let folder = Folder::new();
        let issuer =
            Issuer::generate("Klinikum Süd", algorithm, now() - 100, now() + 100_000).unwrap();
        let leaf = issuer
            .issue(&Approval {
                not_before: now() - 5,
                not_after: now() + 120,
                ..approval()
            })
            .unwrap();
        folder.write("ca.pem", issuer.certificate_pem());
        folder.write("leaf.der", &leaf);
        folder.write("ca.key", issuer.key_pem().as_bytes());

        let text = folder.openssl("x509 -inform DER -in leaf.der -noout -text -nameopt utf8");
        let squeezed = text.split_whitespace().collect::<Vec<_>>().join(" ");
        for expected in [
            "Version: 3 (0x2)",
            "X509v3 Basic Constraints: critical CA:FALSE",
            "X509v3 Key Usage: critical Digital Signature",
            "X509v3 Extended Key Usage: critical 1.3.6.1.4.1.32473.1.2.1",
            "1.3.6.1.4.1.32473.1.1.1: critical",
            "1.3.6.1.4.1.32473.1.1.2: critical",
            "1.3.6.1.4.1.32473.1.1.3: critical ..read-42",
            "Public Key Algorithm: ED25519",
        ] {
            assert!(squeezed.contains(expected), "{expected} in {text}");
        }
        folder.openssl("x509 -inform DER -in leaf.der -out leaf.pem");
        let verified =
            folder.openssl("verify -ignore_critical -x509_strict -CAfile ca.pem leaf.pem");
        assert_eq!(verified.trim(), "leaf.pem: OK");
        // The authority's files, too: its certificate verifies itself, its key is the one.
        assert_eq!(
            folder
                .openssl("verify -check_ss_sig -CAfile ca.pem ca.pem")
                .trim(),
            "ca.pem: OK"
        );
        folder.openssl("pkey -in ca.key -pubout -outform DER -out ca.spki");
        assert_eq!(
            folder.read("ca.spki"),
            subject_public_key_info(issuer.certificate_der()).unwrap()
        );
    }
}

#[test]
fn an_authority_made_by_openssl_issues_here() {
    for algorithm in BOTH {
        let folder = Folder::authority(algorithm);
        let mut keys = vec!["ca.key"];
        if algorithm == Algorithm::EcdsaP256 {
            // SEC 1, with the curve's parameters before it, as `openssl ecparam -genkey` writes it.
            folder.openssl("ec -in ca.key -out sec1.key");
            folder.openssl("ecparam -name prime256v1 -out parameters.pem");
            folder.write(
                "both.key",
                folder.text("parameters.pem") + &folder.text("sec1.key"),
            );
            keys.extend(["sec1.key", "both.key"]);
        }
        for key in keys {
            let issuer = Issuer::from_pem(&folder.text("ca.pem"), &folder.text(key)).unwrap();
            let leaf = issuer
                .issue(&Approval {
                    not_before: now() - 5,
                    not_after: now() + 120,
                    ..approval()
                })
                .unwrap();
            folder.write("leaf.der", &leaf);
            folder.openssl("x509 -inform DER -in leaf.der -out leaf.pem");
            let verified =
                folder.openssl("verify -ignore_critical -x509_strict -CAfile ca.pem leaf.pem");
            assert_eq!(verified.trim(), "leaf.pem: OK");
            let parsed = UnverifiedApproval::parse(&leaf).unwrap();
            let binding = Binding {
                write_id: *parsed.write_id(),
                ephemeral_point: *parsed.ephemeral_point(),
                client_spki: parsed.client_spki(),
            };
            assert!(policy_of(&issuer).verify(&[&leaf], &binding, now()).is_ok());
        }
    }
}

#[test]
fn keys_of_other_kinds_are_no_issuers() {
    let folder = Folder::authority(Algorithm::Ed25519);
    for kind in [
        "RSA -pkeyopt rsa_keygen_bits:2048",
        "EC -pkeyopt ec_paramgen_curve:P-384",
        "EC -pkeyopt ec_paramgen_curve:P-256 -pkeyopt ec_param_enc:explicit",
        "ed448",
    ] {
        folder.openssl(&format!("genpkey -algorithm {kind} -out other.key"));
        folder.openssl(
            "req -x509 -new -config openssl.cnf -extensions authority -key other.key -days 30 -subj /CN=x -out other.pem",
        );
        let organisations = vec![Organisation::from_pem("x", &[folder.text("other.pem")]).unwrap()];
        let config = PolicyConfig {
            approvals_needed: 1,
            organisations,
            max_lifetime_s: 300,
            tolerance_s: 30,
        };
        assert_eq!(
            Policy::new(config).unwrap_err().code(),
            "issuer-key-type",
            "{kind}"
        );
        let refused =
            Issuer::from_pem(&folder.text("other.pem"), &folder.text("other.key")).map(|_| ());
        assert_eq!(refused.unwrap_err().code(), "issuer-key-type", "{kind}");
    }
}
