//! A simulated Camunda cluster.
