//! An administrator who is bound to a certificate of its company, and tries to be out of the company's PKI before that certificate is revoked.

use crate::{certificates::*, ledger::*};
use coordinator::record::UserRole;

#[test]
fn an_administrator_does_not_step_out_of_its_companys_pki() {
    let mut ledger = Ledger::with_users();
    let ledger_id = ledger.id;
    let (company, own) = (Company::new("company", None), Company::new("own", None));
    // As long as nobody is bound, an administrator says which authorities there are.
    ledger.accept("acme/root", authorities("acme", &[&own]));
    ledger.accept("acme/root", authorities("acme", &[&company]));
    let bind = |holder: &Holder, who: &str| holder.bind(&ledger_id, who, who, &[]);
    let certificate = company.certify("root", 7, 30);
    ledger.accept("acme/root", bind(&certificate, "acme/root"));

    // With an authority of its own, which would give it a certificate in the same name.
    for companies in [&[&own][..], &[&company, &own]] {
        let refused = ledger.refuse("acme/root", authorities("acme", companies));
        assert_eq!(refused, "organisation-decides");
    }
    let in_its_name = own.certify("root", 1, 30);
    let refused = ledger.refuse("acme/root", bind(&in_its_name, "acme/root"));
    assert_eq!(refused, "certificate-chain");

    // With a second account, which nobody has bound.
    let second = user_register("acme/second", UserRole::Administrator);
    ledger.accept("acme/root", second);
    for way_out in [
        certify("acme/root", None),
        authorities("acme", &[&own]),
        user_register("acme/third", UserRole::Administrator),
        bind(&in_its_name, "acme/root"),
    ] {
        let refused = ledger.refuse("acme/second", way_out);
        assert_eq!(refused, "certificate-missing");
    }
    let member = user_register("acme/member", UserRole::Member);
    ledger.accept("acme/root", member);
    let refused = ledger.refuse("acme/member", certify("acme/root", None));
    assert_eq!(refused, "not-administrator");

    // With a friend: the second account is another person's, and the company's too.
    let friend = company.certify("second", 8, 30);
    ledger.accept("acme/root", bind(&friend, "acme/second"));
    for way_out in [
        certify("acme/root", None),
        authorities("acme", &[&company, &own]),
    ] {
        let refused = ledger.refuse("acme/second", way_out);
        assert_eq!(refused, "organisation-decides");
    }

    // So the revocation finds it where the company has put it.
    let list = company.list(&[7], 1, NOW_S);
    ledger.accept("acme/second", publish("acme", &[], list));
    for late in [
        authorities("acme", &[&company]),
        user_register("acme/fourth", UserRole::Administrator),
    ] {
        assert_eq!(ledger.refuse("acme/root", late), "certificate-revoked");
    }
}

#[test]
fn the_organisation_opens_what_administrators_may_not_and_they_may_still_take_away() {
    let mut ledger = Ledger::with_users();
    let ledger_id = ledger.id;
    let (company, other) = (Company::new("company", None), Company::new("other", None));
    ledger.accept("acme/root", authorities("acme", &[&company]));
    let eve = company.certify("eve", 7, 30);
    let bind = eve.bind(&ledger_id, "acme/eve", "acme/eve", &[]);
    ledger.accept("acme/eve", bind);
    let root = company.certify("root", 8, 30);
    let bind = root.bind(&ledger_id, "acme/root", "acme/root", &[]);
    ledger.accept("acme/root", bind);

    let both = authorities("acme", &[&company, &other]);
    assert_eq!(ledger.refuse("beta", both.clone()), "not-administrator");
    ledger.accept("alpha", both);
    // Fewer authorities, and more that must be bound.
    let strict = authorities_and("acme", &[&company], true);
    ledger.accept("acme/root", strict);
    let loose = || authorities("acme", &[&company]);
    assert_eq!(ledger.refuse("acme/root", loose()), "organisation-decides");
    ledger.accept("alpha", loose());
    ledger.accept("acme/root", certify("acme/eve", None));
    ledger.accept("alpha", certify("acme/root", None));
    // Nobody is bound any more.
    ledger.accept("acme/root", authorities("acme", &[&other]));
    ledger.accept("acme/root", authorities("acme", &[]));

    // Whom a bound administrator has made one is nothing when it is bound no more.
    ledger.accept("acme/root", authorities("acme", &[&company]));
    let bind = root.bind(&ledger_id, "acme/root", "acme/root", &[]);
    ledger.accept("acme/root", bind);
    let second = user_register("acme/second", UserRole::Administrator);
    ledger.accept("acme/root", second);
    let holder = company.certify("second", 9, 30);
    let bind = holder.bind(&ledger_id, "acme/second", "acme/second", &[]);
    ledger.accept("acme/root", bind);
    let third = |name| user_register(name, UserRole::Member);
    ledger.accept("acme/second", third("acme/third"));
    ledger.accept("alpha", certify("acme/second", None));
    let refused = ledger.refuse("acme/second", third("acme/fourth"));
    assert_eq!(refused, "certificate-missing");
    // The organisation makes administrators who need not be bound.
    let free = user_register("acme/free", UserRole::Administrator);
    ledger.accept("alpha", free);
    ledger.accept("acme/free", third("acme/fifth"));
}
