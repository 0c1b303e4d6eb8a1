//! Policies of one workload, compiled.

use hopgate::policy::{AccessPolicy, MeshPolicySpec, PolicySet, Surroundings, Workload};

pub fn compile(policies: &[AccessPolicy], providers: &[&str], workload: &Workload) -> PolicySet {
    let providers: Vec<String> = providers.iter().map(|name| (*name).to_owned()).collect();
    let around = Surroundings {
        workload,
        mesh: &MeshPolicySpec::absent(),
        providers: &providers,
        engines: &[],
    };
    PolicySet::compile(policies, &around).unwrap_or_else(|errors| panic!("{errors:?}"))
}
