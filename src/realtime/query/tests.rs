use proptest::prelude::*;

use super::*;
use crate::clock::ManualClock;
use crate::realtime::testing::{manager, register, wire};
use crate::realtime::{ClientManager, Registration};

const COLUMNS: [Column; 6] =
    [Column::Username, Column::Ip, Column::UserId, Column::App, Column::Id, Column::ConnectedAt];

/// User, name, last byte of the address, application.
type Somebody = (u8, usize, u8, usize);

fn listed(people: &[Somebody]) -> (Arc<ClientManager>, Vec<Registration>) {
    let (manager, wire) = (manager(&Arc::new(ManualClock::new()), std::time::Duration::ZERO), wire());
    let registrations = people.iter().map(|somebody| register(&manager, &wire, *somebody, Uuid::now_v7()));
    (manager.clone(), registrations.collect())
}

/// What a reader of the list sees of the column: numbers before texts, names whatever the case.
pub(in crate::realtime) fn seen(row: &OnlineClient, column: Column) -> (i64, String) {
    match column {
        Column::Username => (0, row.username.to_lowercase()),
        Column::Ip => (row.ip.rsplit('.').next().unwrap().parse().unwrap(), String::new()),
        Column::UserId => row.user_id.parse().map_or((i64::MAX, row.user_id.clone()), |number| (number, String::new())),
        Column::App => (0, row.app.to_string()),
        Column::Id => (0, row.id.to_string()),
        // Not the last sign of life: it is told in wall time, which two looks do not reckon to the same millisecond.
        _ => (row.connected_at.timestamp_millis(), String::new()),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_client_is_on_exactly_one_page_in_the_order_of_the_column(
        people in prop::collection::vec(any::<Somebody>(), 0..60),
        (column, descending) in (prop::sample::select(&COLUMNS[..]), any::<bool>()),
        limit in 1_usize..25,
    ) {
        let (manager, registrations) = listed(&people);
        let (whole, at, node) = (manager.shards().whole(), Instant::of(manager.clock()), "n".into());
        let filter = OnlineFilter::default();
        let matcher = Matcher::new(&filter, true, "n");
        let mut rows = Vec::new();
        for offset in (0..=people.len()).step_by(limit) {
            let query = OnlineQuery { filter: filter.clone(), sort: column, descending, offset, limit, whole_ip: true };
            let (page, total) = page(&whole, &matcher, &query);
            prop_assert_eq!(total, people.len());
            prop_assert_eq!(page.len(), limit.min(people.len() - offset));
            rows.extend(page.into_iter().map(|listed| row(listed, true, &node, at)));
        }
        drop(whole);
        let mut ids: Vec<Uuid> = rows.iter().map(|row| row.id).collect();
        ids.sort_unstable();
        ids.dedup();
        prop_assert_eq!(ids.len(), registrations.len());
        let in_order = rows.windows(2).all(|pair| {
            let (first, second) = (seen(&pair[0], column), seen(&pair[1], column));
            let order = if descending { second.cmp(&first) } else { first.cmp(&second) };
            order.then_with(|| pair[0].id.cmp(&pair[1].id)).is_lt()
        });
        prop_assert!(in_order, "not in the order of the column");
    }

    #[test]
    fn who_has_come_and_gone_is_counted_nowhere(
        people in prop::collection::vec(any::<Somebody>(), 0..40),
        leaving in prop::collection::vec(any::<bool>(), 40),
    ) {
        let (manager, registrations) = listed(&people);
        let stay: Vec<Registration> =
            registrations.into_iter().zip(leaving).filter_map(|(one, leaves)| (!leaves).then_some(one)).collect();
        let users: HashSet<String> = stay.iter().map(|one| one.client().user.to_string()).collect();
        let counts = manager.shards().whole().counts();
        prop_assert_eq!((counts.clients, counts.sessions, counts.users), (stay.len(), stay.len(), users.len()));
        prop_assert_eq!(counts.by_app.values().sum::<usize>(), stay.len());
        drop(stay);
        let held = ["clients", "users", "sessions", "addresses", "leaving"];
        prop_assert!(manager.sizes().iter().all(|(name, entries)| *entries == 0 || !held.contains(name)));
    }

    #[test]
    fn a_part_is_found_whatever_the_case_of_either(text in "[aBcz0ëİ .-]{0,8}", part in "[aBcz0ëİ .-]{0,3}") {
        let part = part.to_lowercase();
        prop_assert_eq!(holds(&text, &part), text.to_lowercase().contains(&part));
    }
}
