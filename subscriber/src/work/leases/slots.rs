//! The leases of one block, by sequence: found by counting where messages follow each other, which they mostly do.

use super::Lease;

#[derive(Debug)]
pub(super) struct Slots {
    /// In the order of their sequences; a place stays when its lease is gone.
    places: Vec<(i64, Option<Lease>)>,
    count: usize,
}

impl Slots {
    pub(super) fn of(leases: impl IntoIterator<Item = (i64, Lease)>) -> Self {
        let mut places: Vec<_> = leases.into_iter().map(|(sequence, lease)| (sequence, Some(lease))).collect();
        places.sort_unstable_by_key(|(sequence, _)| *sequence);
        Self { count: places.len(), places }
    }

    pub(super) fn len(&self) -> usize {
        self.count
    }

    fn index(&self, sequence: i64) -> Option<usize> {
        let (first, _) = self.places.first()?;
        let counted = usize::try_from(sequence.checked_sub(*first)?).ok()?;
        match self.places.get(counted) {
            Some((there, _)) if *there == sequence => Some(counted),
            _ => self.places.binary_search_by_key(&sequence, |(there, _)| *there).ok(),
        }
    }

    pub(super) fn get(&self, sequence: i64) -> Option<&Lease> {
        self.places[self.index(sequence)?].1.as_ref()
    }

    pub(super) fn get_mut(&mut self, sequence: i64) -> Option<&mut Lease> {
        let index = self.index(sequence)?;
        self.places[index].1.as_mut()
    }

    pub(super) fn remove(&mut self, sequence: i64) -> Option<Lease> {
        let index = self.index(sequence)?;
        let lease = self.places[index].1.take()?;
        self.count -= 1;
        Some(lease)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (i64, &Lease)> {
        self.places.iter().filter_map(|(sequence, lease)| Some((*sequence, lease.as_ref()?)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::lease;
    use super::*;

    #[tokio::test]
    async fn leases_are_found_with_and_without_holes() {
        let now = tokio::time::Instant::now();
        let mut slots = Slots::of([9, 5, 6, 200].map(|sequence| (sequence, lease(1, now))));
        for sequence in [4, 7, 8, 10, 199, 201, i64::MIN, i64::MAX] {
            assert!(slots.get(sequence).is_none(), "{sequence}");
        }
        for (left, sequence) in [5, 200, 6, 9].into_iter().enumerate() {
            assert!(slots.get(sequence).is_some() && slots.get_mut(sequence).is_some());
            assert!(slots.remove(sequence).is_some() && slots.remove(sequence).is_none());
            assert_eq!((slots.len(), slots.iter().count()), (3 - left, 3 - left));
        }
    }
}
